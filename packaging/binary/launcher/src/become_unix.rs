//! Becoming another program on Unix: this process is it from then on.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Returns only when it did not work.
pub fn become_it(mut command: Command) -> io::Error {
    command.exec()
}
