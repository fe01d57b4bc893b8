//! Windows has no way to become another program: a job ends the program with this process.

use std::io;
use std::mem::{size_of, zeroed};
use std::process::Command;
use std::ptr::null;

use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JobObjectExtendedLimitInformation,
    SetInformationJobObject, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Run it to its end and end with its status; returns only when it did not start.
pub fn become_it(mut command: Command) -> io::Error {
    if let Err(error) = end_all_together() {
        return error;
    }
    // The console tells all its processes of Ctrl-C: ours waits for what the other makes of it.
    // SAFETY: no handler is given.
    unsafe { SetConsoleCtrlHandler(None, 1) };
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

/// Put this process, and so all that it starts, into a job that ends when this process does.
fn end_all_together() -> io::Result<()> {
    // SAFETY: all pointers are to values that live through the calls; the job's handle is
    // meant to be open for as long as this process is.
    unsafe {
        let job = CreateJobObjectW(null(), null());
        if job.is_null() {
            return Err(io::Error::last_os_error());
        }
        let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = zeroed();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        let set = SetInformationJobObject(
            job,
            JobObjectExtendedLimitInformation,
            std::ptr::addr_of!(limits).cast(),
            size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32,
        );
        if set == 0 || AssignProcessToJobObject(job, GetCurrentProcess()) == 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
