//! Free TCP ports on 127.0.0.1.
//!
//! They are taken below the range from which the kernel gives ports to outgoing connections, so that a
//! server that is stopped for a while finds its port free when it comes back, and never twice in a process.

use std::{
    collections::HashSet,
    fs, io,
    net::{Ipv4Addr, TcpListener},
    sync::{LazyLock, Mutex, PoisonError},
};

/// Below this port well-known services are likely.
const PORT_MIN: u16 = 15_000;
/// The kernel's own default for the first port of outgoing connections.
const EPHEMERAL_MIN_DEFAULT: u16 = 32_768;
/// Ports tried before giving up.
const TRIES_MAX: usize = 1_000;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

fn ephemeral_min() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_MIN_DEFAULT)
}

/// A TCP port on 127.0.0.1 on which nothing listens and which this function gave to no one else in this process.
///
/// # Errors
/// When a thousand ports are all taken.
pub fn free_port() -> io::Result<u16> {
    let end = ephemeral_min();
    for _ in 0..TRIES_MAX {
        let port = if end > PORT_MIN + 1_000 {
            fastrand::u16(PORT_MIN..end)
        } else {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()
        };
        let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if free && GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free TCP port found"))
}
