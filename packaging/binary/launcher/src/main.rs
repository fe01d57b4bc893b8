//! The single file that users start: it has a Python interpreter with sqsuper inside.
//!
//! The first start unpacks these into a directory of the user's that is named by their version
//! and digest; every start becomes that interpreter. No process of the launcher's remains, and
//! what the interpreter starts itself (engines, workers) unpacks nothing.

mod archive;
#[cfg_attr(unix, path = "become_unix.rs")]
#[cfg_attr(windows, path = "become_windows.rs")]
mod becoming;
mod places;
mod unpacked;

use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use unpacked::Problem;

/// What the system lacks when the interpreter cannot run at all.
const NEEDS: &str = env!("SQSUPER_NEEDS");
/// The interpreter, below the directory that is unpacked.
const PROGRAM: &str = env!("SQSUPER_PROGRAM");

fn main() {
    let mut words = env::args_os();
    let called = words.next().unwrap_or_default();
    let arguments: Vec<OsString> = words.collect();
    let mut refusals = Vec::new();
    for place in places::candidates() {
        let unpacked = || {
            let base = place.open()?;
            unpacked::unpacked(&base, try_out).inspect_err(|_| place.give_up(&base))
        };
        match places::with_plain_umask(unpacked) {
            Ok(directory) => {
                let mut command = Command::new(directory.join(PROGRAM));
                command.args(["-I", "-m", module(&called)]).args(&arguments);
                let problem = becoming::become_it(command);
                refusals.push(format!("{}: {problem}", directory.display()));
            }
            Err(Problem::Damaged(damaged)) => {
                eprintln!("sqsuper: {damaged}");
                std::process::exit(1);
            }
            Err(Problem::Place(cause)) => refusals.push(format!("{place}: {cause}")),
        }
    }
    eprintln!("sqsuper: found no directory to unpack into and run from:");
    for refusal in refusals {
        eprintln!("sqsuper:   {refusal}");
    }
    std::process::exit(1);
}

/// Which program this is: a copy or link called `sq` takes the real sq's arguments.
fn module(called: &OsString) -> &'static str {
    match Path::new(called).file_stem() {
        Some(name) if name == "sq" => "sqsuper.cli.sq",
        _ => "sqsuper.cli",
    }
}

/// Run the interpreter once, so that what cannot work is told by its cause.
fn try_out(directory: &Path) -> Result<(), String> {
    let tried = Command::new(directory.join(PROGRAM))
        .args(["-I", "-S", "-c", ""])
        .stdin(Stdio::inherit())
        .output()
        .map_err(|error| match error.kind() {
            // It is there: its loader is not.
            ErrorKind::NotFound => format!("the interpreter cannot be started: {error}; {NEEDS}"),
            _ => format!("the interpreter cannot be started: {error}"),
        })?;
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    let last = said.trim().lines().last().unwrap_or("").to_owned();
    Err(format!(
        "the interpreter does not run ({}): {last}; {NEEDS}",
        tried.status
    ))
}
