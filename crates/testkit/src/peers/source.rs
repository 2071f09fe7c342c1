//! The process at the other end of a connection on the loopback.

use std::fs;
use std::path::Path;

/// The state of an established connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Returns the inode of the socket that is connected from this port of 127.0.0.1.
pub(super) fn inode(port: u16) -> Option<u64> {
    find(&fs::read_to_string("/proc/net/tcp").ok()?, port)
}

/// Returns whether a process has this socket open.
pub(super) fn holds(pid: u32, inode: u64) -> bool {
    let link = format!("socket:[{inode}]");
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path());
        target.is_ok_and(|target| target == Path::new(&link))
    })
}

/// Finds a port in the text of `/proc/net/tcp`.
fn find(table: &str, port: u16) -> Option<u64> {
    // Addresses are the bytes of an IPv4 address in the byte order of the machine, in hexadecimal.
    let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
    let local = format!("{loopback:08X}:{port:04X}");
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_local = fields.next() == Some(local.as_str());
        let is_open = fields.nth(1) == Some(ESTABLISHED);
        if !is_local || !is_open {
            return None;
        }
        fields.nth(5)?.parse().ok().filter(|inode| *inode != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_found_among_the_files_of_its_process_only() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = connection.local_addr().unwrap().port();
        let found = inode(port).unwrap();
        assert!(holds(std::process::id(), found));
        assert!(!holds(std::os::unix::process::parent_id(), found));
    }

    #[test]
    fn a_listener_and_a_connection_that_was_closed_are_not_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert_eq!(inode(listener.local_addr().unwrap().port()), None);
        let closed = "sl local_address rem_address st ...\n\
            9: 0100007F:0050 0100007F:1F90 06 00000000:00000000 03:00000B1B 00000000 0 0 0 3 0";
        if cfg!(target_endian = "little") {
            assert_eq!(find(closed, 80), None);
            let open = closed
                .replace(" 06 ", " 01 ")
                .replace(" 0 0 0 3 ", " 0 0 77 1 ");
            assert_eq!(find(&open, 80), Some(77));
        }
    }
}
