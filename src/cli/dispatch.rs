//! From the command line to a command, and from its end to an exit code.

use std::io::{self, Write};
use std::sync::Arc;

use uuid::Uuid;

use super::arguments::{Cli, Command, KeepRecord, Output};
use super::before_step::before_step;
use super::command_kind::CommandKind;
use super::command_line::CommandLine;
use super::completion;
use super::execution::carry_out;
use super::exit::Exit;
use super::help;
use super::printer::Printer;
use super::prometheus_access::prometheus_access;
use super::publisher::Publisher;
use super::screen::{PATIENCE, Screen, patience, progress};
use super::user_config::UserConfig;
use crate::actor::Actor;
use crate::clock::Clock;
use crate::cluster::{Cluster, Connected, Connection, ConnectionError, DryRun, connect};
use crate::commands::{self, Simulate};
use crate::context::Context;
use crate::error::{CommandError, one_fix};
use crate::history::{StateDirectory, keep_copy};
use crate::metrics::Tell;
use crate::report::{ConfigView, escape};
use crate::rollout::{Event, Observer};
use crate::signals::Signals;

/// Parses, runs, reports.
pub fn run() -> Exit {
    let command_line = CommandLine::of_process();
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
            let kind = cli.command.kind();
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
        Command::Config => {
            printer.show(&config(&connection).await?, false)?;
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
    let run = command
        .run()
        .unwrap_or_else(|| Uuid::now_v7().simple().to_string());
    let mut command = command.in_namespace(connection.namespace.as_deref());
    let dry_run = command.dry_run();
    let acting = command.kind() == CommandKind::Act;
    if let (DryRun::None, Some(path)) = (dry_run, &output.events) {
        screen.record(path)?;
    }
    let Connected {
        client,
        namespace,
        token,
        context: kube_context,
        server,
    } = match connect(connection, &run).await {
        Ok(connected) => connected,
        Err(error) => return Err(unconnected(&command, connection, error)),
    };
    let directory = StateDirectory::of(&server, |key| std::env::var_os(key));
    if let (true, Some(directory)) = (acting && output.keep_record != KeepRecord::None, &directory)
    {
        screen
            .keep(directory.clone())
            .map_err(|source| CommandError::Io {
                what: "cannot start a thread for the record".into(),
                source,
            })?;
    }
    let prometheus = prometheus_access(&mut command, &token, kube_context.as_deref())?;
    let (tell, tell_hook) = (screen.printer(), screen.printer());
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
    if acting {
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
        before_step: command
            .hooks()
            .and_then(|hooks| before_step(hooks, tell_hook)),
    };
    if let (Command::Start(start), Some(_)) = (&command, &output.notify)
        && start.args.detach.detach
    {
        printer.remark("warning: --notify: the Job posts nothing".into());
    }
    let done = carry_out(
        &mut context,
        command,
        directory.as_ref(),
        printer,
        dry_run,
        &tell,
    )
    .await;
    if acting {
        let remarks = conclude_record(&keeper, output, screen).await;
        remarks.into_iter().for_each(|text| printer.remark(text));
    }
    match done {
        Ok(exit) => Ok(exit),
        Err(error) => Err(error.on_server(&server)),
    }
}

/// Leaves what was seen where it can be found again; what there is to say about it. It comes after all that
/// concerns the traffic, and keeps nobody waiting for long.
async fn conclude_record(cluster: &Cluster, output: &Output, screen: &mut Screen) -> Vec<String> {
    let mut remarks = screen.end_publishing().await;
    if screen.records().is_empty() {
        return remarks;
    }
    if let Some(path) = &output.summary {
        remarks.extend(screen.summarize(path).await);
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

/// What the user's own file says for the context in force.
async fn config(connection: &Connection) -> Result<ConfigView, CommandError> {
    let env = |key: &str| std::env::var_os(key);
    let read = UserConfig::read(env)?;
    let context = connection.context_name().await?;
    let entry = read.and_then(|config| config.of_context(context.as_deref()));
    let file = UserConfig::path(env).map(|path| path.display().to_string());
    let url = std::env::var("KUBECTL_CANARY_PROMETHEUS_URL").ok();
    Ok(ConfigView::of(file, context, entry, url))
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
