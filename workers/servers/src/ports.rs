//! Free TCP ports on 127.0.0.1.
//!
//! They are taken below the range from which the kernel gives ports to outgoing connections, so that a
//! server that is stopped for a while finds its port free when it comes back, and never twice in a process.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    sync::{LazyLock, Mutex, PoisonError},
};

/// Below this port well-known services are likely.
const PORT_MIN: u16 = 15_000;
/// The kernel's own default for the first port of outgoing connections.
const EPHEMERAL_MIN_DEFAULT: u16 = 32_768;
/// Ports tried before giving up.
const TRIES_MAX: usize = 1_000;

/// The ports given out by this process, each with the lock that keeps other processes of ours from it. Without the
/// locks, two processes that look at the same moment both find a port free and one of them fails to listen.
static GIVEN: LazyLock<Mutex<HashMap<u16, File>>> = LazyLock::new(Mutex::default);

fn ephemeral_min() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_MIN_DEFAULT)
}

/// A TCP port on 127.0.0.1 on which nothing listens and which this function gave to no one else: neither in this process
/// nor in another one that still lives.
///
/// # Errors
/// When a thousand ports are all taken, or the folder of locks cannot be made.
pub fn free_port() -> io::Result<u16> {
    let end = ephemeral_min();
    let locks = lock_folder()?;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES_MAX {
        let port = if end > PORT_MIN + 1_000 {
            fastrand::u16(PORT_MIN..end)
        } else {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()
        };
        if given.contains_key(&port) {
            continue;
        }
        let Ok(lock) = OpenOptions::new().create(true).append(true).mode(0o666).open(locks.join(port.to_string()))
        else {
            continue;
        };
        if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            given.insert(port, lock);
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free TCP port found"))
}

/// One file per port, shared by all users of the machine. The kernel drops a lock when its process ends.
fn lock_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join("mutt-ports");
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o777).create(&folder)?;
        // The umask has taken bits away; other users need them. Not the owner: another one made it meanwhile.
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777));
    }
    Ok(folder)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_port_given_out_is_locked_against_other_processes() {
        let port = free_port().unwrap();
        // Another opening of the file stands for another process: locks belong to openings.
        let other = File::open(lock_folder().unwrap().join(port.to_string())).unwrap();
        assert!(other.try_lock().is_err());
        assert_ne!(free_port().unwrap(), port);
    }
}
