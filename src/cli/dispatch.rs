//! From the command line to a command, and from its result to output and exit code.

use std::io::{self, Write};

use clap::Parser;
use uuid::Uuid;

use super::arguments::{Cli, Command, Output};
use super::exit::Exit;
use super::screen::{Screen, layout, progress};
use crate::clock::Clock;
use crate::cluster::{Cluster, Connection, connect};
use crate::commands::{self, CommandError, Demo, Environment, Simulate, StatusAnswer, summary};
use crate::engine::{Finish, Signals};
use crate::record::Outcome;
use crate::report::{Format, PrintError, View, object, print};
use crate::traffic::VirtualService;

/// Parses, runs, reports.
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results and go to stdout; whatever cannot be printed is lost.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
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
        let _ = writeln!(io::stderr(), "error: {}", crate::report::escape(&error.to_string()));
        Exit::from(&error)
    })
}

async fn dispatch(cli: Cli) -> Result<Exit, CommandError> {
    let Cli {
        command,
        connection,
        output,
    } = cli;
    match command {
        Command::Demo(args) => perform(&args, &output).await,
        Command::Simulate(args) => rehearse(&args, &output),
        Command::Plan(args) if args.schema => print_schema(),
        command => with_cluster(command, &connection, &output).await,
    }
}

async fn with_cluster(
    command: Command,
    connection: &Connection,
    output: &Output,
) -> Result<Exit, CommandError> {
    let run = Uuid::now_v7().simple().to_string();
    let mut screen = Screen::new(output)?;
    let (client, namespace) = connect(connection, &run).await?;
    let mut environment = Environment {
        cluster: Cluster::new(client, connection.deadline()),
        namespace,
        clock: Clock::System,
        actor: actor(),
        run,
        observer: &mut screen.fan,
        signals: Signals::of_process().map_err(|source| CommandError::Io {
            what: "cannot listen for signals".into(),
            source,
        })?,
    };
    let exit = carry_out(&mut environment, command, output).await?;
    if let Some(error) = screen.fault() {
        let _ = writeln!(io::stderr(), "warning: events were lost: {error}");
    }
    Ok(exit)
}

async fn perform(args: &Demo, output: &Output) -> Result<Exit, CommandError> {
    let mut screen = Screen::new(output)?;
    let mut narrate = |text: &str| {
        let _ = writeln!(io::stderr(), "{text}");
    };
    let outcome = commands::demo(args, &mut screen.fan, &mut narrate).await?;
    Ok(Exit::from(outcome))
}

fn rehearse(args: &Simulate, output: &Output) -> Result<Exit, CommandError> {
    let bar = progress(args.runs.into());
    let simulation = commands::simulate(args, &|| bar.inc(1));
    bar.finish_and_clear();
    show(&simulation?, output, false)
}

async fn carry_out(
    environment: &mut Environment<'_>,
    command: Command,
    output: &Output,
) -> Result<Exit, CommandError> {
    match command {
        Command::Start(args) => {
            let (vs, finish) = commands::start(environment, &args).await?;
            conclude(&vs, &finish, Exit::from(finish.outcome), output)
        }
        Command::Resume(args) => {
            let (vs, finish) = commands::resume(environment, &args).await?;
            conclude(&vs, &finish, Exit::from(finish.outcome), output)
        }
        Command::Promote(args) => {
            let (vs, finish) = commands::promote(environment, &args).await?;
            conclude(&vs, &finish, Exit::from(finish.outcome), output)
        }
        // What was asked for was done, whatever it means for the rollout.
        Command::Pause { name } => {
            let (vs, finish) = commands::pause(environment, &name).await?;
            conclude(&vs, &finish, Exit::Done, output)
        }
        Command::Abort(args) => {
            let (vs, finish) = commands::abort(environment, &args).await?;
            match finish {
                Some(finish) => conclude(&vs, &finish, Exit::Done, output),
                None => {
                    say(&format!("{} was rolled back already", object(vs.name())))?;
                    Ok(Exit::Done)
                }
            }
        }
        Command::Status(args) => {
            let view = commands::status(environment, &args).await?;
            match view {
                StatusAnswer::One(view) => show(&*view, output, false),
                StatusAnswer::Many(view) => show(&view, output, args.all_namespaces),
            }
        }
        Command::List(args) => {
            let view = commands::list(environment, &args).await?;
            show(&view, output, args.all_namespaces)
        }
        Command::Plan(args) => {
            let view = commands::plan(environment, &args).await?;
            let exit = if view.refused {
                Exit::Preflight
            } else {
                Exit::Done
            };
            show(&view, output, false)?;
            Ok(exit)
        }
        Command::Demo(_) | Command::Simulate(_) => Ok(Exit::Done),
    }
}

/// Prints how a run ended: one line, or the summary as asked.
fn conclude(
    vs: &VirtualService,
    finish: &Finish,
    exit: Exit,
    output: &Output,
) -> Result<Exit, CommandError> {
    let summary = summary(vs, finish, exit.code());
    match output.format {
        Some(Format::Json) => {
            say(&serde_json::to_string_pretty(&summary).map_err(io::Error::other)?)?
        }
        Some(Format::Yaml) => say(serde_saphyr::to_string(&summary)
            .map_err(io::Error::other)?
            .trim_end())?,
        Some(Format::Name) => say(&object(vs.name()))?,
        Some(Format::Wide) | None => say(&format!("{} {}", object(vs.name()), verbed(finish)))?,
    }
    Ok(exit)
}

fn verbed(finish: &Finish) -> String {
    match finish.outcome {
        Outcome::StepPassed | Outcome::Held => format!("at {} %", finish.weight),
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

fn say(text: &str) -> Result<(), CommandError> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

fn print_schema() -> Result<Exit, CommandError> {
    let schema =
        serde_json::to_string_pretty(&crate::plan::PlanFile::schema()).map_err(io::Error::other)?;
    say(&schema)?;
    Ok(Exit::Done)
}

/// Who acts: `user@host`.
fn actor() -> String {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("USERNAME"))
        .unwrap_or_else(|_| "unknown".into());
    format!("{user}@{}", gethostname::gethostname().to_string_lossy())
}
