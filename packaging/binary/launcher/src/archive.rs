//! What is embedded: files in groups, each group packed apart, so that several threads can work.
//!
//! The manifest has a line `group PACKED UNPACKED` (bytes) for each group and below it one for each
//! of its files, `MODE SIZE PATH` (octal, bytes, `/` between names). The contents are the groups
//! behind one another: each is its files behind one another, as one Zstandard frame. The manifest
//! is one too. Frames have checksums.

use std::fmt;

static MANIFEST: &[u8] = include_bytes!(env!("SQSUPER_MANIFEST"));
static CONTENTS: &[u8] = include_bytes!(env!("SQSUPER_CONTENTS"));
/// Why this program's own file cannot be used, wherever it would be unpacked.
#[derive(Debug)]
pub struct Damaged(String);

impl fmt::Display for Damaged {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damaged(cause) = self;
        write!(
            to,
            "this program's file is damaged ({cause}): download it again"
        )
    }
}

/// More than a manifest ever has.
const MANIFEST_LIMIT: usize = 1 << 24;

pub struct Entry {
    pub mode: u32,
    pub size: usize,
    pub path: String,
}

pub struct Group {
    pub entries: Vec<Entry>,
    packed: &'static [u8],
    unpacked: usize,
}

/// Return the groups, those with most to do first.
pub fn groups() -> Result<Vec<Group>, Damaged> {
    let manifest = unpack(MANIFEST, MANIFEST_LIMIT)?;
    let manifest = String::from_utf8(manifest).map_err(|error| Damaged(error.to_string()))?;
    parse(&manifest, CONTENTS).ok_or_else(|| Damaged("no line of its manifest".to_owned()))
}

fn parse(manifest: &str, mut contents: &'static [u8]) -> Option<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for line in manifest.lines() {
        let mut fields = line.splitn(3, ' ');
        let (first, second, third) = (fields.next()?, fields.next()?, fields.next()?);
        if first == "group" {
            let (packed, rest) = contents.split_at_checked(second.parse().ok()?)?;
            contents = rest;
            groups.push(Group {
                entries: Vec::new(),
                packed,
                unpacked: third.parse().ok()?,
            });
        } else {
            groups.last_mut()?.entries.push(Entry {
                mode: u32::from_str_radix(first, 8).ok()?,
                size: second.parse().ok()?,
                path: third.to_owned(),
            });
        }
    }
    Some(groups)
}

impl Group {
    /// Return the group's files behind one another.
    pub fn unpack(&self) -> Result<Vec<u8>, Damaged> {
        unpack(self.packed, self.unpacked)
    }
}

fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, Damaged> {
    let mut text = Vec::with_capacity(limit);
    match zstd_safe::decompress(&mut text, packed) {
        Ok(_) => Ok(text),
        Err(code) => Err(Damaged(zstd_safe::get_error_name(code).to_owned())),
    }
}
