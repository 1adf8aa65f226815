//! One mapping of a process's memory, asked for by an address in it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

use super::answered;

/// `PROCMAP_QUERY`, of Linux 6.11 and later.
const QUERY: u64 = 0xc068_6611;
const READABLE: u64 = 1;
const WRITABLE: u64 = 2;
const EXECUTABLE: u64 = 4;
const SHARED: u64 = 8;

/// A mapping, as far as the agent's owner needs to know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Area {
    /// Its addresses.
    pub(crate) range: Range<u64>,
    /// As in `/proc/PID/maps`: `r-xp`.
    pub(crate) rights: [u8; 4],
    /// Whether it is of no file.
    pub(crate) anonymous: bool,
}

/// `struct procmap_query`
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    query_flags: u64,
    address: u64,
    start: u64,
    end: u64,
    flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    device: [u32; 2],
    name_size: u32,
    build_size: u32,
    name_at: u64,
    build_at: u64,
}

/// The mapping that has `address`, if there is one. `maps` is the process's file of that name.
pub(crate) fn area(maps: &File, address: u64) -> io::Result<Option<Area>> {
    let mut query = Query {
        size: mem::size_of::<Query>() as u64,
        address,
        ..Query::default()
    };
    let place: *mut Query = &raw mut query;
    // SAFETY: the kernel reads and writes a structure of this layout and size, which asks for no
    // name, so that nothing is written elsewhere.
    let done = unsafe { libc::ioctl(maps.as_raw_fd(), QUERY as _, place) };
    match answered(done.into()) {
        Ok(_) => Ok(Some(query.area())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => search(maps, address),
        Err(error) => Err(error),
    }
}

impl Query {
    fn area(&self) -> Area {
        let has = |bit, yes: u8, no| if self.flags & bit == 0 { no } else { yes };
        Area {
            range: self.start..self.end,
            rights: [
                has(READABLE, b'r', b'-'),
                has(WRITABLE, b'w', b'-'),
                has(EXECUTABLE, b'x', b'-'),
                has(SHARED, b's', b'p'),
            ],
            anonymous: self.inode == 0 && self.device == [0; 2],
        }
    }
}

/// The same from the file's text, for older kernels.
fn search(mut maps: &File, address: u64) -> io::Result<Option<Area>> {
    let mut text = String::new();
    maps.rewind()?;
    maps.read_to_string(&mut text)?;
    let mut areas = text.lines().filter_map(parse);
    Ok(areas.find(|area| area.range.contains(&address)))
}

fn parse(line: &str) -> Option<Area> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let rights = words.next()?.as_bytes().try_into().ok()?;
    let mut file = words.skip(1);
    Some(Area {
        range: number(start)?..number(end)?,
        rights,
        anonymous: file.next()? == "00:00" && file.next()? == "0",
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_mapping() {
        let maps = File::open("/proc/self/maps").unwrap();
        let here = both_ways_find_the_same_mapping as fn() as usize as u64;
        let stack = [0_u8; 1];
        let stack = stack.as_ptr().addr() as u64;
        for address in [here, stack] {
            let asked = area(&maps, address).unwrap();
            assert_eq!(asked, search(&maps, address).unwrap());
            assert!(asked.unwrap().range.contains(&address));
        }
        let code = area(&maps, here).unwrap().unwrap();
        assert_eq!((&code.rights, code.anonymous), (b"r-xp", false));
        assert!(area(&maps, stack).unwrap().unwrap().anonymous);
        assert_eq!(area(&maps, 8).unwrap(), None);
        assert_eq!(search(&maps, 8).unwrap(), None);
    }
}
