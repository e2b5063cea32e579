//! sqlx 0.9 leaves Nagle's algorithm on and shows its sockets to nobody. A COPY ends with two small messages in a row, so
//! every transaction would wait 40 ms for the server's delayed acknowledgement (measured: accepted to webhook 44 ms
//! instead of 2 ms).

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::{BorrowedFd, RawFd},
};

use rustix::net::{getpeername, sockopt};

/// Switches it off on every TCP connection of this process to a port.
pub(super) fn switch_off(port: u16) -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_socket = fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        let Some(number) = number.filter(|_| is_socket) else { continue };
        set_if_peer(number, port);
    }
    Ok(())
}

#[allow(unsafe_code)]
fn set_if_peer(number: RawFd, port: u16) {
    // SAFETY: the descriptor was open a moment ago and is not kept. If another thread has closed it meanwhile, the calls
    // fail or meet another socket of this process, on which the option does no harm.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let peer = getpeername(socket).ok().flatten().and_then(|address| SocketAddr::try_from(address).ok());
    if peer.is_some_and(|peer| peer.port() == port) {
        // Best effort: without it things are slow, not wrong.
        let _ = sockopt::set_tcp_nodelay(socket, true);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_the_port_send_at_once_and_others_are_left_alone() {
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (to_one, to_other) = (
            TcpStream::connect(one.local_addr().unwrap()).unwrap(),
            TcpStream::connect(other.local_addr().unwrap()).unwrap(),
        );
        switch_off(one.local_addr().unwrap().port()).unwrap();
        assert!(to_one.nodelay().unwrap());
        assert!(!to_other.nodelay().unwrap());
    }
}
