//! From the command line to a command, and from its result to output and exit code.

use std::io::{self, Write};
use std::sync::Arc;

use clap::FromArgMatches;
use uuid::Uuid;

use super::arguments::{Cli, Command, DryRunnable, KeepRecord, Output};
use super::completion;
use super::exit::Exit;
use super::help;
use super::printer::{CommandKind, Printer};
use super::prometheus_access::prometheus_access;
use super::publisher::Publisher;
use super::screen::{PATIENCE, Screen, patience, progress};
use super::watch_output::WatchOutput;
use crate::actor::Actor;
use crate::clock::Clock;
use crate::cluster::{Cluster, Connected, Connection, ConnectionError, DryRun, connect};
use crate::commands::{self, Aborted, Carried, Detached, PlanArgs, Simulate, StatusAnswer};
use crate::context::{Context, object_name};
use crate::driver::Finish;
use crate::error::{CommandError, one_fix};
use crate::foreign_text::foreign_text;
use crate::history::{StateDirectory, keep_copy};
use crate::istio::VirtualService;
use crate::metrics::Tell;
use crate::preflight::Proposal;
use crate::report::{Format, escape, object};
use crate::rollout::{Event, Observer, Outcome};
use crate::signals::Signals;

/// What the command line asks for.
enum CommandLine {
    Command(Box<Cli>),
    /// Text on stdout: help, the version, a completion.
    Text(String),
    /// Nothing that can be done, and why.
    Wrong(String),
}

/// Parses, runs, reports.
pub fn run() -> Exit {
    let command_line = command_line();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.and_then(|runtime| {
        let exit = runtime.block_on(respond(command_line));
        // A name that does not resolve, for instance, keeps nobody waiting.
        runtime.shutdown_background();
        exit
    });
    ended.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: cannot start: {error}");
        Exit::Error
    })
}

fn command_line() -> CommandLine {
    let mut words = std::env::args_os().peekable();
    let is_completer = completion::is_asked(words.next().as_deref());
    if is_completer || words.next_if(|word| word == completion::COMMAND).is_some() {
        let words: Vec<_> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return CommandLine::Text(completion::answer(&words));
    }
    let is_long = std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "help");
    let parsed = help::command(is_long).try_get_matches();
    match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => CommandLine::Command(Box::new(cli)),
        Err(error) if error.use_stderr() => CommandLine::Wrong(usage_error(&error)),
        // Help and version are results.
        Err(error) => {
            let text = error.render();
            let text =
                if anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never {
                    text.to_string()
                } else {
                    text.ansi().to_string()
                };
            CommandLine::Text(text.trim_end().to_owned())
        }
    }
}

/// Does what is asked for, and ends all output.
///
/// # Errors
/// If the threads for output cannot be had.
async fn respond(command_line: CommandLine) -> io::Result<Exit> {
    let output = match &command_line {
        CommandLine::Command(cli) => cli.output.clone(),
        CommandLine::Text(_) | CommandLine::Wrong(_) => Output::default(),
    };
    let mut screen = Screen::open(&output)?;
    let mut printer = Printer::open(output)?;
    let (kind, exit) = match command_line {
        CommandLine::Command(cli) => {
            let kind = kind_of(&cli.command);
            (kind, dispatch(*cli, &mut screen, &mut printer).await)
        }
        CommandLine::Text(text) => {
            printer.say(&text);
            (CommandKind::Answer, Ok(Exit::Done))
        }
        CommandLine::Wrong(text) => {
            printer.remark(text);
            (CommandKind::Answer, Ok(Exit::Usage))
        }
    };
    let exit = exit.unwrap_or_else(|error| {
        printer.remark(format!("error: {}", escape(&one_fix(&error.to_string()))));
        Exit::from(&error)
    });
    Ok(printer.finish(exit, kind, screen).await)
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
    // It repeats what was typed, which may be a password in the wrong place.
    let message = foreign_text(&message.join(" "));
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

async fn dispatch(
    cli: Cli,
    screen: &mut Screen,
    printer: &mut Printer,
) -> Result<Exit, CommandError> {
    let Cli {
        command,
        connection,
        output,
    } = cli;
    refuse_shared_format(&command, &output)?;
    match command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => run_demo(&args, &output, screen).await,
        Command::Simulate(args) => run_simulate(&args, printer),
        Command::Schema(args) => {
            printer.say(&commands::schema(args));
            Ok(Exit::Done)
        }
        Command::Options => {
            printer.say(&help::options());
            Ok(Exit::Done)
        }
        Command::Completion => {
            printer.say(completion::PROGRAM.trim_end());
            Ok(Exit::Done)
        }
        Command::Version => {
            printer.say(&format!("kubectl-canary {}", env!("CARGO_PKG_VERSION")));
            Ok(Exit::Done)
        }
        Command::Report(args) if args.from_events.is_some() => {
            printer.show(&commands::report_of_events(&args)?, false)?;
            Ok(Exit::Done)
        }
        command => with_cluster(command, &connection, &output, screen, printer).await,
    }
}

async fn with_cluster(
    command: Command,
    connection: &Connection,
    output: &Output,
    screen: &mut Screen,
    printer: &mut Printer,
) -> Result<Exit, CommandError> {
    let run = run_of(&command).unwrap_or_else(|| Uuid::now_v7().simple().to_string());
    let mut command = in_namespace(command, connection.namespace.as_deref());
    let dry_run = dry_run_of(&command);
    let acting = acts(&command) && dry_run == DryRun::None;
    // Its name takes another look at the kubeconfig, which is left to those who need it.
    let directory = match &command {
        Command::History(_) | Command::Report(_) => state_directory(connection).await,
        _ if acting && output.keep_record != KeepRecord::None => state_directory(connection).await,
        _ => None,
    };
    if let (true, Some(directory)) = (acting, directory.clone()) {
        screen.keep(directory).map_err(|source| CommandError::Io {
            what: "cannot start a thread for the record".into(),
            source,
        })?;
    }
    if let (DryRun::None, Some(path)) = (dry_run, &output.events) {
        screen.record(path)?;
    }
    let Connected {
        client,
        namespace,
        token,
    } = match connect(connection, &run).await {
        Ok(connected) => connected,
        Err(error) => return Err(unconnected(&command, connection, error)),
    };
    let prometheus = prometheus_access(&mut command, token)?;
    let trace: Option<Tell> = output.verbose.then(|| {
        let print = screen.printer();
        Arc::new(move |text: String| print(&escape(&text))) as Tell
    });
    let cluster = Cluster::new(client.clone(), connection.deadline())
        .with_dry_run(dry_run)
        .with_trace(trace);
    if acting {
        screen.publish(Publisher::start(&cluster, client, output.notify.clone()));
    }
    // What does not happen is no event.
    let mut unseen = |_: &Event| {};
    let observer: &mut dyn Observer = match dry_run {
        DryRun::None => &mut *screen,
        DryRun::Client | DryRun::Server => &mut unseen,
    };
    let keeper = cluster.clone();
    let actor = actor(&cluster);
    if acts(&command) {
        actor.ask();
    }
    let mut context = Context {
        cluster,
        namespace,
        prometheus,
        clock: Clock::System,
        actor,
        run,
        observer,
        signals: Signals::of_process().map_err(|source| CommandError::Io {
            what: "cannot listen for signals".into(),
            source,
        })?,
    };
    if let (Command::Start(start), Some(_)) = (&command, &output.notify)
        && start.args.detach.detach
    {
        printer.remark("warning: --notify: the Job posts nothing".into());
    }
    let done = carry_out(&mut context, command, directory.as_ref(), printer, dry_run).await;
    if acting {
        let remarks = conclude_record(&keeper, output, screen).await;
        remarks.into_iter().for_each(|text| printer.remark(text));
    }
    match done {
        Ok(exit) => Ok(exit),
        Err(error) => Err(error.on_server(&connection.server_name().await)),
    }
}

/// Where the records of the cluster's objects are on this machine.
async fn state_directory(connection: &Connection) -> Option<StateDirectory> {
    let server = connection.server_name().await;
    StateDirectory::of(&server, |key| std::env::var_os(key))
}

/// Leaves what was seen where it can be found again; what there is to say about it. It comes after all that
/// concerns the traffic, and keeps nobody waiting for long.
async fn conclude_record(cluster: &Cluster, output: &Output, screen: &mut Screen) -> Vec<String> {
    let mut remarks = screen.end_publishing().await;
    if screen.records().is_empty() {
        return remarks;
    }
    if let Some(path) = &output.summary {
        remarks.extend(screen.summarize(path));
    }
    let not_here = screen.end_history().await;
    if output.keep_record == KeepRecord::Cluster {
        for record in screen.records() {
            let kept = tokio::time::timeout(PATIENCE, keep_copy(cluster, record)).await;
            let why = match kept {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => one_fix(&error.to_string()),
                Err(_) => format!("the API server took longer than {}", patience()),
            };
            remarks.push(format!(
                "warning: the record of run {} is not in the cluster: {}",
                record.run(),
                escape(&why)
            ));
        }
    }
    remarks.extend(not_here.map(|why| {
        let why = escape(&why).into_owned();
        format!("warning: the record of the run on this machine is not whole: {why}")
    }));
    remarks
}

/// Before anything is done: a result that has no such form could not be printed after it.
fn refuse_shared_format(command: &Command, output: &Output) -> Result<(), CommandError> {
    match output.format {
        Some(format) if format.is_shared() && !matches!(command, Command::Report(_)) => {
            Err(CommandError::Usage(
                "-o html, markdown and junit are for report (try: -o json, or kubectl canary report NAME)"
                    .into(),
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(feature = "demo")]
async fn run_demo(
    args: &commands::Demo,
    output: &Output,
    screen: &mut Screen,
) -> Result<Exit, CommandError> {
    if let Some(path) = &output.events {
        screen.record(path)?;
    }
    let mut narrate = screen.printer();
    let outcome = commands::demo(args, screen, &mut narrate).await?;
    Ok(Exit::from(outcome))
}

fn run_simulate(args: &Simulate, printer: &mut Printer) -> Result<Exit, CommandError> {
    let bar = progress(args.runs.into());
    let simulation = commands::simulate(args, &|| bar.inc(1));
    bar.finish_and_clear();
    printer.show(&simulation?, false)?;
    Ok(Exit::Done)
}

async fn carry_out(
    context: &mut Context<'_>,
    command: Command,
    directory: Option<&StateDirectory>,
    printer: &mut Printer,
    dry_run: DryRun,
) -> Result<Exit, CommandError> {
    let conclude = |printer: &mut Printer, vs: &VirtualService, finish: &Finish, exit, holding| {
        conclude(vs, finish, (exit, holding), printer, dry_run)
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
            conclude(
                printer,
                &vs,
                &finish,
                Exit::from(finish.outcome),
                "holding at",
            )
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
            conclude(
                printer,
                &vs,
                &finish,
                Exit::from(finish.outcome),
                "holding at",
            )
        }
        Command::Resume(args) => {
            let (vs, finish) = commands::resume(context, &args).await?;
            conclude(
                printer,
                &vs,
                &finish,
                Exit::from(finish.outcome),
                "holding at",
            )
        }
        Command::Promote(DryRunnable { mut args, .. }) => {
            args.wait &= dry_run == DryRun::None;
            let (vs, finish) = commands::promote(context, &args).await?;
            conclude(
                printer,
                &vs,
                &finish,
                Exit::from(finish.outcome),
                "promoted to",
            )
        }
        // What was asked for was done, whatever it means for the rollout.
        Command::Pause(DryRunnable { args, .. }) => {
            let (vs, finish) = commands::pause(context, &args.name).await?;
            conclude(printer, &vs, &finish, Exit::Done, "paused at")
        }
        Command::Abort(DryRunnable { args, .. }) => match commands::abort(context, &args).await? {
            Aborted::RolledBack(done) => {
                let (vs, finish) = *done;
                conclude(printer, &vs, &finish, Exit::Done, "holding at")
            }
            Aborted::Nothing(why) => {
                if let None | Some(Format::Wide) = printer.format() {
                    printer.say(&why);
                }
                Ok(Exit::Done)
            }
        },
        Command::Undo(DryRunnable { args, .. }) => match commands::undo(context, &args).await? {
            (vs, Some(finish)) => conclude(printer, &vs, &finish, Exit::Done, "holding at"),
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
                .unless_interrupted(async |context| commands::status(context, &args).await)
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
                .unless_interrupted(async |context| commands::analyze(context, &args).await)
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
        Command::Rbac(args) => {
            let list = commands::rbac(&args, &context.namespace)?;
            printer.show_objects(&list)?;
            Ok(Exit::Done)
        }
        Command::Simulate(_)
        | Command::Schema(_)
        | Command::Options
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

/// Prints objects to apply.
fn propose(proposal: &Proposal, printer: &mut Printer) {
    match printer.format() {
        Some(Format::Json) => printer.say(&format!("{:#}", proposal.list())),
        Some(_) | None => {
            printer.say(&proposal.to_string());
        }
    }
}

/// Without a connection nothing was changed; but an `abort` has not done its work either.
fn unconnected(command: &Command, connection: &Connection, error: ConnectionError) -> CommandError {
    let Command::Abort(abort) = command else {
        return error.into();
    };
    let name = &abort.args.name;
    let namespace = connection.namespace.as_deref();
    CommandError::RollbackFailed {
        object: namespace.map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}")),
        why: format!("{error}; it is not known whether a rollout is in progress"),
        manual: format!("kubectl canary abort {name} once the cluster can be reached"),
    }
}

/// The run that the command begins or goes on with, where its id was chosen.
fn run_of(command: &Command) -> Option<String> {
    match command {
        Command::Start(start) => start.args.run_id.clone(),
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
        Command::Undo(undo) => undo.dry_run,
        Command::Pause(pause) => pause.dry_run,
        Command::Resume(_)
        | Command::Status(_)
        | Command::List(_)
        | Command::Plan(_)
        | Command::Analyze(_)
        | Command::Simulate(_)
        | Command::Schema(_)
        | Command::History(_)
        | Command::Report(_)
        | Command::Rbac(_)
        | Command::Options
        | Command::Completion
        | Command::Version => DryRun::None,
        #[cfg(feature = "demo")]
        Command::Demo(_) => DryRun::None,
    }
}

/// What the command is for.
fn kind_of(command: &Command) -> CommandKind {
    if dry_run_of(command) != DryRun::None {
        return CommandKind::Answer;
    }
    match command {
        command if acts(command) => CommandKind::Act,
        Command::Status(args) if args.watch => CommandKind::Watch,
        Command::List(args) if args.watch => CommandKind::Watch,
        _ => CommandKind::Answer,
    }
}

/// Says how a run ended: one line, or the summary as asked.
fn conclude(
    vs: &VirtualService,
    finish: &Finish,
    (exit, holding): (Exit, &str),
    printer: &mut Printer,
    dry_run: DryRun,
) -> Result<Exit, CommandError> {
    match printer.format() {
        Some(
            Format::Json
            | Format::Yaml
            | Format::Name
            | Format::Html
            | Format::Markdown
            | Format::Junit,
        ) => {
            printer.show(&finish.summary(vs, exit.code()), false)?;
        }
        Some(Format::Wide) | None => {
            let (object, verbed, suffix) =
                (object(vs.name()), verbed(finish, holding), dry_run.suffix());
            printer.say(&format!("{object} {verbed}{suffix}"));
        }
    }
    Ok(exit)
}

/// What was done, as kubectl says it; `holding` is the word for a rollout that stays at its weight.
fn verbed(finish: &Finish, holding: &str) -> String {
    match finish.outcome {
        Outcome::StepPassed | Outcome::StepSet | Outcome::Held => {
            format!("{holding} {}", finish.exposure)
        }
        Outcome::AlreadyPromoted => {
            format!(
                "already promoted, all traffic is on {}",
                finish.rollout.canary
            )
        }
        outcome => outcome.to_string(),
    }
}

/// Whether the command does something, and leaves its caller's name there, rather than answer.
fn acts(command: &Command) -> bool {
    match command {
        Command::Start(_)
        | Command::Promote(_)
        | Command::Abort(_)
        | Command::Undo(_)
        | Command::Pause(_)
        | Command::Resume(_) => true,
        Command::Status(_)
        | Command::List(_)
        | Command::Plan(_)
        | Command::Analyze(_)
        | Command::Simulate(_)
        | Command::Schema(_)
        | Command::History(_)
        | Command::Report(_)
        | Command::Rbac(_)
        | Command::Options
        | Command::Completion
        | Command::Version => false,
        #[cfg(feature = "demo")]
        Command::Demo(_) => true,
    }
}

/// Who acts, as this machine knows it until the cluster says more.
fn actor(cluster: &Cluster) -> Actor {
    let env = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(env);
    let host = gethostname::gethostname();
    Actor::calling(
        cluster,
        user.as_deref().unwrap_or("unknown"),
        &host.to_string_lossy(),
        env,
    )
}
