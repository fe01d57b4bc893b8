//! Where the files may be unpacked: a directory that nobody else can write to or has prepared.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

#[cfg_attr(unix, path = "places/unix.rs")]
#[cfg_attr(windows, path = "places/windows.rs")]
mod system;

pub use system::{
    has_mode, is_private, lock, make_private, make_private_below, opening, with_plain_umask,
};

/// One directory to try, which need not be there.
pub enum Place {
    /// Kept from start to start: `PathBuf` below a directory that is there.
    Kept { within: PathBuf, below: PathBuf },
    /// A new one with a name nobody can foresee, below a directory for temporary files.
    New { within: PathBuf },
}

impl Place {
    /// Return the directory, made if it was not there; or why it is not used.
    pub fn open(&self) -> Result<PathBuf, String> {
        match self {
            Place::Kept { within, below } => {
                let mut directory = system::trusted(within)?;
                let names: Vec<_> = below.iter().collect();
                for (at, name) in names.iter().enumerate() {
                    directory.push(name);
                    match system::make_private(&directory) {
                        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                            return Err(error.to_string());
                        }
                        _ => {}
                    }
                    if at + 1 < names.len() {
                        // The user's own, perhaps a link.
                        directory = system::trusted(&directory)?;
                    }
                }
                system::is_private(&directory)?;
                Ok(directory)
            }
            Place::New { within } => {
                let within = system::trusted(within)?;
                system::make_unforeseen(&within).map_err(|error| error.to_string())
            }
        }
    }

    /// Leave nothing of a directory that was made for this start alone, and is not used.
    pub fn give_up(&self, directory: &Path) {
        if let Place::New { .. } = self {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Kept { within, below } => write!(to, "{}", within.join(below).display()),
            Place::New { within } => write!(to, "a new directory in {}", within.display()),
        }
    }
}

/// Return the places in the order in which they are tried.
pub fn candidates() -> Vec<Place> {
    let mut found = Vec::new();
    if let Some(cache) = absolute("XDG_CACHE_HOME") {
        found.push(Place::Kept {
            within: cache,
            below: "sqsuper".into(),
        });
    }
    if let Some((within, below)) = system::home_cache() {
        found.push(Place::Kept { within, below });
    }
    let temporary = system::temporary();
    for within in &temporary {
        let below = system::name_in_temporary().into();
        found.push(Place::Kept {
            within: within.clone(),
            below,
        });
    }
    found.extend(temporary.into_iter().map(|within| Place::New { within }));
    found
}

/// Return a variable's path; a relative one counts as none.
fn absolute(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(name)?);
    path.is_absolute().then_some(path)
}
