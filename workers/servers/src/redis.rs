//! A private redis-server.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    ManagedChild, Reply, ServerError, TlsFiles, directory::ServerDirectory, find_program, free_port, process::log_tail,
    resp::Connection,
};

const PROGRAM: &str = "redis-server";
/// A loaded machine may take long to start a process; a broken server ends at once and is seen as such.
const READY_MAX: Duration = Duration::from_mins(1);
/// Another process may take the port between the choice and the start.
const START_TRIES: usize = 5;

/// How to start a Redis. The default: AOF everysec, no password, no maxmemory, no TLS.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    maxmemory_bytes: Option<u64>,
    password: Option<String>,
    tls: Option<TlsFiles>,
    no_persistence: bool,
    replica_of: Option<u16>,
    arguments: Vec<String>,
}

impl RedisOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `maxmemory` (policy noeviction).
    #[must_use]
    pub fn maxmemory(mut self, bytes: u64) -> Self {
        self.maxmemory_bytes = Some(bytes);
        self
    }

    /// Sets `requirepass`.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a TLS listener without client certificates; [`RedisServer::url`] is then `rediss://`.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Switches the append-only file off.
    #[must_use]
    pub fn without_persistence(mut self) -> Self {
        self.no_persistence = true;
        self
    }

    /// Makes it a replica of the Redis on that port of 127.0.0.1.
    #[must_use]
    pub fn replica_of(mut self, port: u16) -> Self {
        self.replica_of = Some(port);
        self
    }

    /// Adds arguments of redis-server, as `["--maxclients", "10"]`.
    #[must_use]
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts it and waits until it answers PING.
    ///
    /// # Errors
    /// When redis-server is not installed or does not become ready.
    pub async fn start(self) -> Result<RedisServer, ServerError> {
        let program =
            find_program(PROGRAM, &[]).or_else(|missing| find_program("valkey-server", &[]).map_err(|_| missing))?;
        let mut tries = 0;
        loop {
            tries += 1;
            let port = || free_port().map_err(ServerError::io("find a free port"));
            let server = RedisServer {
                program: program.clone(),
                port: port()?,
                tls_port: port()?,
                directory: ServerDirectory::create()?,
                options: self.clone(),
                child: Mutex::new(None),
            };
            match server.launch().await {
                Ok(()) => return Ok(server),
                Err(ServerError::NotReady { log, .. })
                    if tries < START_TRIES && log.contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A running (or for the moment stopped) private Redis. It is killed when this value is dropped.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    port: u16,
    tls_port: u16,
    options: RedisOptions,
    child: Mutex<Option<ManagedChild>>,
    // Dropped last: the server must be gone before its files are.
    directory: ServerDirectory,
}

impl RedisServer {
    /// Starts one with the defaults of [`RedisOptions`].
    ///
    /// # Errors
    /// As [`RedisOptions::start`].
    pub async fn start() -> Result<Self, ServerError> {
        RedisOptions::new().start().await
    }

    /// `redis://127.0.0.1:<port>`, or `rediss://localhost:<port>` with TLS; with `:password@` where one is set.
    pub fn url(&self) -> String {
        let user = self.options.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        if self.options.tls.is_some() {
            format!("rediss://{user}localhost:{}", self.tls_port)
        } else {
            format!("redis://{user}127.0.0.1:{}", self.port)
        }
    }

    /// The port without TLS (there is one in any case).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port with TLS, if it has one.
    pub fn tls_port(&self) -> Option<u16> {
        self.options.tls.as_ref().map(|_| self.tls_port)
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(ManagedChild::id)
    }

    /// Sends one command on a connection of its own. An error reply is [`Reply::Error`].
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn command(&self, words: &[&str]) -> Result<Reply, ServerError> {
        let io = || ServerError::io(format!("ask Redis for {}", words.first().unwrap_or(&"nothing")));
        let mut connection = Connection::open(self.port, self.options.password.as_deref()).await.map_err(io())?;
        connection.command(words).await.map_err(io())
    }

    /// Ends it in order (SIGTERM: the append-only file is written out).
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop(&self) -> Result<(), ServerError> {
        let child = self.child().take();
        if let Some(mut child) = child {
            child.stop(Signal::TERM, Duration::from_secs(30)).await.map_err(ServerError::io("stop redis-server"))?;
        }
        Ok(())
    }

    /// Kills it (SIGKILL); what it has not written is lost.
    pub fn kill(&self) {
        drop(self.child().take());
    }

    /// Starts it again on the same port with the same files; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.stop().await?;
        self.launch().await
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        let child = self.child();
        let child = child.as_ref().ok_or(ServerError::NotRunning(PROGRAM))?;
        child.signal(signal).map_err(ServerError::io("signal redis-server"))
    }

    fn child(&self) -> MutexGuard<'_, Option<ManagedChild>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command_line(&self) -> Command {
        let options = &self.options;
        let directory = self.directory.path();
        let mut command = Command::new(&self.program);
        let mut set = |name: &str, value: &str| {
            command.arg(format!("--{name}")).arg(value);
        };
        set("port", &self.port.to_string());
        set("bind", "127.0.0.1");
        set("dir", &directory.display().to_string());
        set("logfile", &directory.join("redis.log").display().to_string());
        set("save", "");
        set("daemonize", "no");
        set("appendonly", if options.no_persistence { "no" } else { "yes" });
        set("appendfsync", "everysec");
        set("maxmemory-policy", "noeviction");
        set("repl-diskless-sync-delay", "0");
        if let Some(bytes) = options.maxmemory_bytes {
            set("maxmemory", &bytes.to_string());
        }
        if let Some(password) = &options.password {
            set("requirepass", password);
            set("masterauth", password);
        }
        if let Some(tls) = &options.tls {
            set("tls-port", &self.tls_port.to_string());
            set("tls-cert-file", &tls.certificate.display().to_string());
            set("tls-key-file", &tls.key.display().to_string());
            set("tls-ca-cert-file", &tls.ca.display().to_string());
            set("tls-auth-clients", "no");
        }
        if let Some(port) = options.replica_of {
            command.args(["--replicaof", "127.0.0.1", &port.to_string()]);
        }
        command.args(&options.arguments);
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    async fn launch(&self) -> Result<(), ServerError> {
        let child =
            ManagedChild::spawn(self.command_line(), Signal::KILL).map_err(ServerError::io("start redis-server"))?;
        *self.child() = Some(child);
        let start = Instant::now();
        loop {
            if self.answers_ping().await {
                return Ok(());
            }
            let ended = match self.child().as_mut().map(ManagedChild::try_wait) {
                Some(Ok(None)) => None,
                Some(Ok(Some(status))) => Some(status.to_string()),
                Some(Err(error)) => Some(error.to_string()),
                None => Some("killed".to_owned()),
            };
            let reason = ended
                .or_else(|| (start.elapsed() > READY_MAX).then(|| format!("no PONG within {} s", READY_MAX.as_secs())));
            if let Some(reason) = reason {
                self.kill();
                let log = log_tail(&self.directory.path().join("redis.log"));
                return Err(ServerError::NotReady { program: PROGRAM, reason, log });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks for PING, and that it is our process that answers (not one that took the port before).
    async fn answers_ping(&self) -> bool {
        let ask = async {
            let mut connection = Connection::open(self.port, self.options.password.as_deref()).await?;
            if connection.command(&["PING"]).await? != Reply::Text("PONG".into()) {
                return Ok(false);
            }
            let info = connection.command(&["INFO", "server"]).await?;
            let pid = info.text().lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok());
            Ok::<_, std::io::Error>(pid == self.pid())
        };
        matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_acknowledged_values_over_a_restart() {
        let redis = RedisServer::start().await.unwrap();
        assert_eq!(redis.command(&["SET", "k", "v"]).await.unwrap(), Reply::Text("OK".into()));
        redis.restart().await.unwrap();
        assert_eq!(redis.command(&["GET", "k"]).await.unwrap().text(), "v");
        redis.kill();
        assert!(redis.command(&["GET", "k"]).await.is_err());
        redis.restart().await.unwrap();
    }

    #[tokio::test]
    async fn options_reach_the_server() {
        let redis = RedisOptions::new()
            .maxmemory(50_000_000)
            .password("s3cret")
            .arguments(["--maxclients", "77"])
            .start()
            .await
            .unwrap();
        let value = redis.command(&["CONFIG", "GET", "maxmemory"]).await.unwrap();
        assert_eq!(value.texts(), ["maxmemory", "50000000"]);
        assert_eq!(redis.command(&["CONFIG", "GET", "maxclients"]).await.unwrap().texts()[1], "77");
        assert!(redis.url().starts_with("redis://:s3cret@127.0.0.1:"));
    }

    #[tokio::test]
    async fn a_bad_option_is_an_error_with_the_log() {
        let error = RedisOptions::new().arguments(["--maxmemory-policy", "nonsense"]).start().await.unwrap_err();
        assert!(matches!(error, ServerError::NotReady { .. }), "{error}");
    }

    #[tokio::test]
    async fn the_process_is_gone_after_drop() {
        let redis = RedisServer::start().await.unwrap();
        let pid = redis.pid().unwrap();
        drop(redis);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
