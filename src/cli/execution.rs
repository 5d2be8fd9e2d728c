//! One command against a cluster: it is carried out, and its result printed.

use super::arguments::{Command, DryRunnable};
use super::conclusion::{conclude, propose};
use super::exit::Exit;
use super::on_end::on_end;
use super::printer::Printer;
use super::watch_output::WatchOutput;
use crate::cluster::DryRun;
use crate::commands::{self, Aborted, Carried, Detached, PlanArgs, StatusAnswer};
use crate::context::{Context, object_name};
use crate::driver::Finish;
use crate::error::CommandError;
use crate::history::StateDirectory;
use crate::istio::VirtualService;
use crate::report::{Format, object};

/// Does what the command says, and prints what came of it.
pub(super) async fn carry_out(
    context: &mut Context<'_>,
    command: Command,
    directory: Option<&StateDirectory>,
    printer: &mut Printer,
    dry_run: DryRun,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Exit, CommandError> {
    // The exit code is the outcome's, or that of what was asked for and done.
    let ended = |printer: &mut Printer, vs: &VirtualService, finish: &Finish, holding| {
        let exit = Exit::from(finish.outcome);
        conclude(vs, finish, (exit, holding), printer, dry_run)
    };
    let done = |printer: &mut Printer, vs: &VirtualService, finish: &Finish, holding| {
        conclude(vs, finish, (Exit::Done, holding), printer, dry_run)
    };
    match command {
        // A rollout that is not to happen is a plan.
        Command::Start(start) if dry_run != DryRun::None => {
            let args = PlanArgs {
                rollout: start.args.rollout,
                dry_run,
            };
            plan(context, &args, printer).await
        }
        Command::Start(start) if start.args.detach.detach => {
            let Detached { vs, finish, job } = commands::detach(context, &start.args).await?;
            if let (None | Some(Format::Wide), Some(job)) = (printer.format(), job) {
                printer.say(&format!("job.batch/{job} created"));
            }
            ended(printer, &vs, &finish, "holding at")
        }
        Command::Start(start) => {
            let (vs, finish) = match start.args.detach.begin_by {
                None => commands::start(context, &start.args).await?,
                Some(begin_by) => match commands::carry_on(context, &start.args, begin_by).await? {
                    Carried::Driven(driven) => *driven,
                    Carried::Ended(outcome) => {
                        printer.say(&format!("the rollout has already ended: {outcome}"));
                        return Ok(Exit::from(outcome));
                    }
                },
            };
            on_end(context, &start.args.drive.hooks, &vs, &finish, tell).await;
            ended(printer, &vs, &finish, "holding at")
        }
        Command::Resume(args) => {
            let (vs, finish) = commands::resume(context, &args).await?;
            on_end(context, &args.drive.hooks, &vs, &finish, tell).await;
            ended(printer, &vs, &finish, "holding at")
        }
        Command::Promote(DryRunnable { mut args, .. }) => {
            args.wait &= dry_run == DryRun::None;
            let (vs, finish) = commands::promote(context, &args).await?;
            if args.wait {
                on_end(context, &args.hooks, &vs, &finish, tell).await;
            }
            ended(printer, &vs, &finish, "promoted to")
        }
        // What was asked for was done, whatever it means for the rollout.
        Command::Pause(DryRunnable { args, .. }) => {
            let (vs, finish) = commands::pause(context, &args.name).await?;
            done(printer, &vs, &finish, "paused at")
        }
        Command::Abort(DryRunnable { args, .. }) => match commands::abort(context, &args).await? {
            Aborted::RolledBack(rolled_back) => {
                let (vs, finish) = *rolled_back;
                done(printer, &vs, &finish, "holding at")
            }
            Aborted::Nothing(why) => {
                if let None | Some(Format::Wide) = printer.format() {
                    printer.say(&why);
                }
                Ok(Exit::Done)
            }
        },
        Command::Undo(DryRunnable { args, .. }) => match commands::undo(context, &args).await? {
            (vs, Some(finish)) => done(printer, &vs, &finish, "holding at"),
            (vs, None) => {
                if let None | Some(Format::Wide) = printer.format() {
                    let object = object(vs.name());
                    printer.say(&format!(
                        "{object} nothing to undo, the promotion is undone already"
                    ));
                }
                Ok(Exit::Done)
            }
        },
        Command::Status(args) if args.watch => {
            let Some(name) = &args.name else {
                return watch(context, args.all_namespaces, false, printer).await;
            };
            follow(context, name, args.run.as_deref(), printer).await
        }
        Command::List(args) if args.watch => {
            watch(context, args.all_namespaces, args.all, printer).await
        }
        // What only reads ends with a signal at once.
        Command::Status(args) => {
            let view = context
                .unless_interrupted(async |context| {
                    commands::status(context, &args, directory).await
                })
                .await?;
            match view {
                StatusAnswer::One(view) => printer.show(&*view, false)?,
                StatusAnswer::Many(view) => printer.show_list(&view, args.all_namespaces)?,
            }
            Ok(Exit::Done)
        }
        Command::List(args) => {
            let view = context
                .unless_interrupted(async |context| commands::list(context, &args).await)
                .await?;
            printer.show_list(&view, args.all_namespaces)?;
            Ok(match args.orphaned && !view.items.is_empty() {
                true => Exit::Orphaned,
                false => Exit::Done,
            })
        }
        Command::Plan(args) => plan(context, &args, printer).await,
        Command::Analyze(args) => {
            let view = context
                .unless_interrupted(async |context| {
                    commands::analyze(context, &args, directory).await
                })
                .await?;
            printer.show(&view, false)?;
            Ok(Exit::from(view.verdict))
        }
        Command::History(args) => {
            let read = context.unless_interrupted(async |context| {
                commands::history(context, &args, directory).await
            });
            let (list, problems) = read.await?;
            printer.show(&list, false)?;
            printer.remark_problems(problems);
            Ok(Exit::Done)
        }
        Command::Report(args) => {
            let read = context.unless_interrupted(async |context| {
                commands::report(context, &args, directory).await
            });
            let (report, problems) = read.await?;
            printer.show(&report, false)?;
            printer.remark_problems(problems);
            Ok(Exit::Done)
        }
        Command::Scaffold(args) => {
            let missing = context
                .unless_interrupted(async |context| commands::scaffold(context, &args).await);
            propose(&missing.await?, printer);
            Ok(Exit::Done)
        }
        Command::Rbac(args) => {
            let list = commands::rbac(&args, &context.namespace, &context.prometheus)?;
            printer.show_objects(&list)?;
            Ok(Exit::Done)
        }
        Command::Simulate(_)
        | Command::Schema(_)
        | Command::Options
        | Command::Config
        | Command::Completion
        | Command::Version => Ok(Exit::Done),
        #[cfg(feature = "demo")]
        Command::Demo(_) => Ok(Exit::Done),
    }
}

/// Shows one rollout until it ends; the exit code is that of its end, whichever process drove it.
async fn follow(
    context: &mut Context<'_>,
    name: &str,
    run: Option<&str>,
    printer: &mut Printer,
) -> Result<Exit, CommandError> {
    let mut shown = WatchOutput::of_one(printer);
    let tick = shown.tick();
    let outcome = commands::follow(context, name, run, tick, &mut |row| shown.one(row)).await;
    if outcome.is_err() && printer.has_failed() {
        return Ok(Exit::Done);
    }
    let outcome = outcome?;
    if let None | Some(Format::Wide) = printer.format() {
        printer.say(&format!("{} {outcome}", object(object_name(name)?)));
    }
    Ok(Exit::from(outcome))
}

/// Shows the rollouts of a namespace, or of all, until a signal.
async fn watch(
    context: &mut Context<'_>,
    all_namespaces: bool,
    all: bool,
    printer: &mut Printer,
) -> Result<Exit, CommandError> {
    let mut shown = WatchOutput::of_many(printer, all_namespaces);
    let ended = commands::follow_all(context, all_namespaces, all, &mut |glance| {
        shown.many(&glance)
    })
    .await;
    if !printer.has_failed() {
        ended?;
    }
    Ok(Exit::Done)
}

async fn plan(
    context: &mut Context<'_>,
    args: &PlanArgs,
    printer: &mut Printer,
) -> Result<Exit, CommandError> {
    let view = context.unless_interrupted(async |context| commands::plan(context, args).await);
    let view = match view.await {
        // The objects go where a plan would: `kubectl canary plan NAME | kubectl apply -f -`.
        Err(error) => {
            if let CommandError::NothingToShift { proposal, .. } = &error {
                propose(proposal, printer);
            }
            return Err(error);
        }
        Ok(view) => view,
    };
    printer.show(&view, false)?;
    Ok(if view.refused {
        Exit::Preflight
    } else {
        Exit::Done
    })
}
