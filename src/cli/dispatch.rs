//! From the command line to a command, and from its result to output and exit code.

use std::io::{self, Write};

use clap::Parser;
use uuid::Uuid;

use super::arguments::{Cli, Command, DryRunnable, Output};
use super::completion;
use super::exit::Exit;
use super::manifest::print_objects;
use super::screen::{Screen, layout, progress};
use super::watch_output::WatchOutput;
use crate::clock::Clock;
use crate::cluster::{Cluster, Connection, DryRun, connect};
use crate::commands::{self, Carried, Detached, PlanArgs, Simulate, StatusAnswer};
use crate::context::{Context, object_name};
use crate::driver::Finish;
use crate::error::{CommandError, one_fix};
use crate::istio::VirtualService;
use crate::preflight::Proposal;
use crate::report::{Format, PrintError, StatusList, View, escape, object, print};
use crate::rollout::Outcome;
use crate::signals::Signals;

/// Parses, runs, reports.
pub fn run() -> Exit {
    let mut words = std::env::args_os();
    if completion::is_asked(words.next().as_deref()) {
        let words: Vec<_> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let _ = writeln!(io::stdout(), "{}", completion::answer(&words));
        return Exit::Done;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                let _ = writeln!(io::stderr(), "{}", usage_error(&error));
                return Exit::Usage;
            }
            // Help and version are results and go to stdout; whatever cannot be printed is lost.
            let _ = error.print();
            return Exit::Done;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(cli)),
        Err(source) => Err(CommandError::Io {
            what: "cannot start".into(),
            source,
        }),
    };
    result.unwrap_or_else(|error| {
        // A reader that went away is not worth a word.
        if matches!(&error, CommandError::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe) {
            return Exit::Done;
        }
        let _ = writeln!(io::stderr(), "error: {}", escape(&one_fix(&error.to_string())));
        Exit::from(&error)
    })
}

/// clap's error as one line of ours, with one advice.
fn usage_error(error: &clap::Error) -> String {
    let text = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return text.trim_end().to_owned();
    }
    let (mut message, mut fix, mut usage) = (Vec::new(), None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let values = line.strip_prefix("[possible values: ");
        if let Some(tip) = line.strip_prefix("tip: ") {
            fix = fix.or(tip
                .rsplit_once(": ")
                .map(|(_, words)| words.replace('\'', "")));
        } else if let Some(values) = values {
            fix = fix.or(Some(values.trim_end_matches(']').to_owned()));
        } else if let Some(line) = line.strip_prefix("Usage: ") {
            let ends = [" [", " <", " -"].iter().filter_map(|end| line.find(end));
            usage = Some(line[..ends.min().unwrap_or(line.len())].to_owned());
        } else if !line.starts_with("For more information") {
            message.push(line);
        }
    }
    let message = message.join(" ");
    if message.contains("(try: ") {
        return escape(&message).into_owned();
    }
    let help = || {
        format!(
            "{} --help",
            usage.unwrap_or_else(|| "kubectl canary".into())
        )
    };
    escape(&format!("{message} (try: {})", fix.unwrap_or_else(help))).into_owned()
}

async fn dispatch(cli: Cli) -> Result<Exit, CommandError> {
    let Cli {
        command,
        connection,
        output,
    } = cli;
    match command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => run_demo(&args, &output).await,
        Command::Simulate(args) => run_simulate(&args, &output),
        Command::Schema(args) => {
            say(&commands::schema(args))?;
            Ok(Exit::Done)
        }
        command => with_cluster(command, &connection, &output).await,
    }
}

async fn with_cluster(
    command: Command,
    connection: &Connection,
    output: &Output,
) -> Result<Exit, CommandError> {
    let run = run_of(&command).unwrap_or_else(|| Uuid::now_v7().simple().to_string());
    let command = in_namespace(command, connection.namespace.as_deref());
    let dry_run = dry_run_of(&command);
    let mut screen = if dry_run == DryRun::None {
        Screen::new(output)?
    } else {
        // What does not happen is no event.
        Screen::silent()
    };
    let (client, namespace) = connect(connection, &run).await?;
    let mut context = Context {
        cluster: Cluster::new(client, connection.deadline()).with_dry_run(dry_run),
        namespace,
        clock: Clock::System,
        actor: actor(),
        run,
        observer: &mut screen.tee,
        signals: Signals::of_process().map_err(|source| CommandError::Io {
            what: "cannot listen for signals".into(),
            source,
        })?,
    };
    let exit = match carry_out(&mut context, command, output, dry_run).await {
        Ok(exit) => exit,
        Err(error) => return Err(error.on_server(&connection.server_name().await)),
    };
    if let Some(error) = screen.fault() {
        let _ = writeln!(io::stderr(), "warning: events were lost: {error}");
    }
    Ok(exit)
}

#[cfg(feature = "demo")]
async fn run_demo(args: &commands::Demo, output: &Output) -> Result<Exit, CommandError> {
    let mut screen = Screen::new(output)?;
    let mut narrate = |text: &str| {
        let _ = writeln!(io::stderr(), "{text}");
    };
    let outcome = commands::demo(args, &mut screen.tee, &mut narrate).await?;
    Ok(Exit::from(outcome))
}

fn run_simulate(args: &Simulate, output: &Output) -> Result<Exit, CommandError> {
    let bar = progress(args.runs.into());
    let simulation = commands::simulate(args, &|| bar.inc(1));
    bar.finish_and_clear();
    show(&simulation?, output, false)
}

async fn carry_out(
    context: &mut Context<'_>,
    command: Command,
    output: &Output,
    dry_run: DryRun,
) -> Result<Exit, CommandError> {
    let conclude = |vs: &VirtualService, finish: &Finish, exit, holding: &str| {
        conclude(vs, finish, (exit, holding), output, dry_run)
    };
    match command {
        // A rollout that is not to happen is a plan.
        Command::Start(start) if dry_run != DryRun::None => {
            let args = PlanArgs {
                rollout: start.args.rollout,
                dry_run,
            };
            plan(context, &args, output).await
        }
        Command::Start(start) if start.args.detach.detach => {
            let Detached { vs, finish, job } = commands::detach(context, &start.args).await?;
            if let None | Some(Format::Wide) = output.format {
                say(&format!("job.batch/{job} created"))?;
            }
            conclude(&vs, &finish, Exit::from(finish.outcome), "holding at")
        }
        Command::Start(start) => {
            let (vs, finish) = match &start.args.detach.run {
                None => commands::start(context, &start.args).await?,
                Some(run) => match commands::carry_on(context, &start.args, run).await? {
                    Carried::Driven(driven) => *driven,
                    Carried::Ended(outcome) => {
                        say(&format!("the rollout has already ended: {outcome}"))?;
                        return Ok(Exit::from(outcome));
                    }
                },
            };
            conclude(&vs, &finish, Exit::from(finish.outcome), "holding at")
        }
        Command::Resume(args) => {
            let (vs, finish) = commands::resume(context, &args).await?;
            conclude(&vs, &finish, Exit::from(finish.outcome), "holding at")
        }
        Command::Promote(DryRunnable { mut args, .. }) => {
            args.wait &= dry_run == DryRun::None;
            let (vs, finish) = commands::promote(context, &args).await?;
            conclude(&vs, &finish, Exit::from(finish.outcome), "promoted to")
        }
        // What was asked for was done, whatever it means for the rollout.
        Command::Pause(DryRunnable { args, .. }) => {
            let (vs, finish) = commands::pause(context, &args.name).await?;
            conclude(&vs, &finish, Exit::Done, "paused at")
        }
        Command::Abort(DryRunnable { args, .. }) => {
            let (vs, finish) = commands::abort(context, &args).await?;
            match finish {
                Some(finish) => conclude(&vs, &finish, Exit::Done, "holding at"),
                None => {
                    say(&format!("{} already rolled back", object(vs.name())))?;
                    Ok(Exit::Done)
                }
            }
        }
        Command::Status(args) if args.watch => {
            let Some(name) = &args.name else {
                return watch(context, args.all_namespaces, false, output).await;
            };
            follow(context, name, output).await
        }
        Command::List(args) if args.watch => {
            watch(context, args.all_namespaces, args.all, output).await
        }
        Command::Status(args) => {
            let view = commands::status(context, &args).await?;
            match view {
                StatusAnswer::One(view) => show(&*view, output, false),
                StatusAnswer::Many(view) => show_list(&view, output, args.all_namespaces),
            }
        }
        Command::List(args) => {
            let view = commands::list(context, &args).await?;
            show_list(&view, output, args.all_namespaces)
        }
        Command::Plan(args) => plan(context, &args, output).await,
        Command::Analyze(args) => {
            let view = commands::analyze(context, &args).await?;
            show(&view, output, false)?;
            Ok(Exit::from(view.verdict))
        }
        Command::Rbac(args) => {
            let list = commands::rbac(&args, &context.namespace)?;
            print_objects(&list, output)?;
            Ok(Exit::Done)
        }
        Command::Simulate(_) | Command::Schema(_) => Ok(Exit::Done),
        #[cfg(feature = "demo")]
        Command::Demo(_) => Ok(Exit::Done),
    }
}

/// Shows one rollout until it ends; the exit code is that of its end, whichever process drove it.
async fn follow(
    context: &mut Context<'_>,
    name: &str,
    output: &Output,
) -> Result<Exit, CommandError> {
    let mut shown = WatchOutput::of_one(output);
    let tick = shown.tick();
    let outcome = commands::follow(context, name, tick, &mut |row| shown.one(row)).await;
    shown.leave();
    let Some(outcome) = outcome? else {
        return Ok(Exit::Done);
    };
    if let None | Some(Format::Wide) = output.format {
        say(&format!("{} {outcome}", object(object_name(name)?)))?;
    }
    Ok(Exit::from(outcome))
}

/// Shows the rollouts of a namespace, or of all, until a signal.
async fn watch(
    context: &mut Context<'_>,
    all_namespaces: bool,
    all: bool,
    output: &Output,
) -> Result<Exit, CommandError> {
    let mut shown = WatchOutput::of_many(output, all_namespaces);
    commands::follow_all(context, all_namespaces, all, &mut |glance| {
        shown.many(&glance)
    })
    .await?;
    Ok(Exit::Done)
}

async fn plan(
    context: &mut Context<'_>,
    args: &PlanArgs,
    output: &Output,
) -> Result<Exit, CommandError> {
    let view = match commands::plan(context, args).await {
        // The objects go where a plan would: `kubectl canary plan NAME | kubectl apply -f -`.
        Err(error) => {
            if let CommandError::NothingToShift { proposal, .. } = &error {
                propose(proposal, output)?;
            }
            return Err(error);
        }
        Ok(view) => view,
    };
    show(&view, output, false)?;
    Ok(if view.refused {
        Exit::Preflight
    } else {
        Exit::Done
    })
}

/// Prints objects to apply.
fn propose(proposal: &Proposal, output: &Output) -> Result<(), CommandError> {
    match output.format {
        Some(Format::Json) => say(&format!("{:#}", proposal.list())),
        Some(Format::Yaml | Format::Name | Format::Wide) | None => say(&proposal.to_string()),
    }
}

/// The run that the command belongs to, where a Job says so.
fn run_of(command: &Command) -> Option<String> {
    match command {
        Command::Start(start) => start.args.detach.run.clone(),
        _ => None,
    }
}

/// A namespace given by flag wins over the one in a plan file.
fn in_namespace(mut command: Command, namespace: Option<&str>) -> Command {
    let rollout = match &mut command {
        Command::Start(start) => Some(&mut start.args.rollout),
        Command::Plan(plan) => Some(&mut plan.rollout),
        Command::Analyze(analyze) => Some(&mut analyze.rollout),
        _ => None,
    };
    if let Some(rollout) = rollout {
        rollout.namespace = namespace.map(str::to_owned);
    }
    command
}

/// Whether the command is only to be rehearsed.
fn dry_run_of(command: &Command) -> DryRun {
    match command {
        Command::Start(start) => start.dry_run,
        Command::Promote(promote) => promote.dry_run,
        Command::Abort(abort) => abort.dry_run,
        Command::Pause(pause) => pause.dry_run,
        Command::Resume(_)
        | Command::Status(_)
        | Command::List(_)
        | Command::Plan(_)
        | Command::Analyze(_)
        | Command::Simulate(_)
        | Command::Schema(_)
        | Command::Rbac(_) => DryRun::None,
        #[cfg(feature = "demo")]
        Command::Demo(_) => DryRun::None,
    }
}

/// Prints how a run ended: one line, or the summary as asked.
fn conclude(
    vs: &VirtualService,
    finish: &Finish,
    (exit, holding): (Exit, &str),
    output: &Output,
    dry_run: DryRun,
) -> Result<Exit, CommandError> {
    match output.format {
        Some(Format::Json | Format::Yaml | Format::Name) => {
            show(&finish.summary(vs, exit.code()), output, false)?;
        }
        Some(Format::Wide) | None => {
            let (object, verbed, suffix) =
                (object(vs.name()), verbed(finish, holding), dry_run.suffix());
            say(&format!("{object} {verbed}{suffix}"))?;
        }
    }
    Ok(exit)
}

/// What was done, as kubectl says it; `holding` is the word for a rollout that stays at its weight.
fn verbed(finish: &Finish, holding: &str) -> String {
    match finish.outcome {
        Outcome::StepPassed | Outcome::Held => format!("{holding} {}", finish.exposure),
        outcome => outcome.to_string(),
    }
}

fn show<T: View>(view: &T, output: &Output, namespaced: bool) -> Result<Exit, CommandError> {
    let mut stdout = io::stdout().lock();
    print(&mut stdout, output.format, layout(output, namespaced), view).map_err(
        |error| match error {
            PrintError::Write(source) => CommandError::Io {
                what: "cannot write the output".into(),
                source,
            },
            other => CommandError::Conflict(other.to_string()),
        },
    )?;
    Ok(Exit::Done)
}

/// Shows a list, and on stderr what its table has no room for.
fn show_list(list: &StatusList, output: &Output, namespaced: bool) -> Result<Exit, CommandError> {
    let exit = show(list, output, namespaced)?;
    if let None | Some(Format::Wide) = output.format {
        for error in list.errors() {
            let _ = writeln!(io::stderr(), "warning: {error}");
        }
    }
    Ok(exit)
}

fn say(text: &str) -> Result<(), CommandError> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Who acts: `user@host`.
fn actor() -> String {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("USERNAME"))
        .unwrap_or_else(|_| "unknown".into());
    format!("{user}@{}", gethostname::gethostname().to_string_lossy())
}
