//! A private PostgreSQL cluster.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::sync::OnceCell;

use crate::{
    ManagedChild, ServerError, TlsFiles, directory::ServerDirectory, find_program, free_port, process::log_tail,
};

/// Owner of the cluster and of its databases.
const USER: &str = "mutt";
/// Another user of the machine could reach the port; the password is per cluster.
const PASSWORD_LENGTH: usize = 24;
/// A loaded machine may take long for initdb; a broken server ends at once and is seen as such.
const READY_MAX: Duration = Duration::from_mins(2);
const START_TRIES: usize = 5;
/// Where distributions keep the server programs, newest version first: root, name before the number, below.
const PLACES: &[(&str, &str, &str)] = &[("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin")];

static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();

/// How to start a PostgreSQL. The default is for tests: nothing is synced to disk.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    durable: bool,
    tls: Option<TlsFiles>,
    settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps fsync and full_page_writes on, as in production.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Lets clients use TLS (those that do not may still come).
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Sets a setting of postgresql.conf, as `("max_connections", "200")`.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Makes a cluster, starts it and waits until it answers. As root it runs as `postgres` or `nobody`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, no other user is there, or it does not become ready.
    pub async fn start(self) -> Result<PostgresServer, ServerError> {
        let programs = find_program("initdb", PLACES)?;
        let programs = fs::canonicalize(&programs).unwrap_or(programs);
        let programs = programs.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut tries = 0;
        let directory = ServerDirectory::create()?;
        let server = PostgresServer {
            run_as: RunAs::choose()?,
            password: std::iter::repeat_with(fastrand::alphanumeric).take(PASSWORD_LENGTH).collect(),
            port: Mutex::new(0),
            databases: AtomicU32::new(0),
            child: Mutex::new(None),
            programs,
            directory,
        };
        server.init(&self).await?;
        loop {
            tries += 1;
            *server.port.lock().unwrap_or_else(PoisonError::into_inner) =
                free_port().map_err(ServerError::io("find a free port"))?;
            match server.launch().await {
                Ok(()) => return Ok(server),
                Err(ServerError::NotReady { log, .. })
                    if tries < START_TRIES && log.contains("could not create any TCP/IP sockets") => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// PostgreSQL refuses to run as root; then another user must own the cluster.
#[derive(Debug, Clone, Copy)]
struct RunAs(Option<(u32, u32)>);

impl RunAs {
    fn choose() -> Result<Self, ServerError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let users = fs::read_to_string("/etc/passwd").map_err(ServerError::io("read /etc/passwd"))?;
        let ids = |wanted: &str| {
            users.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == wanted).then_some(())?;
                Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
            })
        };
        ids("postgres").or_else(|| ids("nobody")).map(|ids| Self(Some(ids))).ok_or(ServerError::NoUser)
    }

    fn apply(self, command: &mut Command) {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
    }

    fn own(self, path: &Path) -> io::Result<()> {
        self.0.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }
}

/// A running (or for the moment stopped) private PostgreSQL. It is ended when this value is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    run_as: RunAs,
    password: String,
    port: Mutex<u16>,
    databases: AtomicU32,
    child: Mutex<Option<ManagedChild>>,
    // Dropped last: the server must be gone before its files are.
    directory: ServerDirectory,
}

impl PostgresServer {
    /// Starts one with the defaults of [`PostgresOptions`] (for tests).
    ///
    /// # Errors
    /// As [`PostgresOptions::start`].
    pub async fn start() -> Result<Self, ServerError> {
        PostgresOptions::new().start().await
    }

    /// The one server all tests of a process share (each takes a [`Self::fresh_database`]); it ends with the
    /// process. Tests that stop or restart the server start one of their own.
    ///
    /// # Errors
    /// As [`PostgresOptions::start`].
    pub async fn shared() -> Result<&'static Self, ServerError> {
        let start = async || {
            // Statics are not dropped: the directory of the process before this one may still be there.
            crate::sweep_abandoned();
            PostgresOptions::new().setting("max_connections", "300").start().await
        };
        SHARED.get_or_try_init(start).await
    }

    /// `postgres://mutt:<password>@127.0.0.1:<port>/postgres`.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// The URL of a database of this server.
    pub fn database_url(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}?sslmode=disable", self.password, self.port())
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        *self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name of the owner of everything.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The owner's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The process id of the postmaster while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(ManagedChild::id)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// When it exists or the server does not answer.
    pub async fn create_database(&self, name: &str) -> Result<String, ServerError> {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(self.database_url(name))
    }

    /// Makes a database that is a copy of another one to which nobody is connected, and returns its URL.
    ///
    /// # Errors
    /// When it exists or the server does not answer.
    pub async fn copy_database(&self, template: &str, name: &str) -> Result<String, ServerError> {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"")).await?;
        Ok(self.database_url(name))
    }

    /// Makes an empty database with a name of its own and returns its URL.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn fresh_database(&self) -> Result<String, ServerError> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        self.create_database(&format!("test_{number}")).await
    }

    /// Runs SQL by psql and returns what it prints: a line per row, `|` between the fields.
    ///
    /// # Errors
    /// When a statement fails or the server does not answer.
    pub async fn sql(&self, database: &str, sql: &str) -> Result<String, ServerError> {
        self.sql_at(&self.database_url(database), sql).await
    }

    /// As [`Self::sql`], with the URL of a database.
    ///
    /// # Errors
    /// When a statement fails or the server does not answer.
    pub async fn sql_at(&self, url: &str, sql: &str) -> Result<String, ServerError> {
        let psql = self.programs.join("psql");
        let psql = if psql.is_file() { psql } else { find_program("psql", PLACES)? };
        let mut command = Command::new(psql);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
        command.env("PGCONNECT_TIMEOUT", "30").current_dir("/");
        run("psql", command).await
    }

    /// Ends it in order (fast shutdown: open transactions are rolled back).
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop(&self) -> Result<(), ServerError> {
        let child = self.child().take();
        if let Some(mut child) = child {
            child.stop(Signal::INT, Duration::from_mins(1)).await.map_err(ServerError::io("stop postgres"))?;
        }
        Ok(())
    }

    /// Ends it as a crash does (immediate shutdown: no checkpoint, the next start recovers).
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn kill(&self) -> Result<(), ServerError> {
        let child = self.child().take();
        if let Some(mut child) = child {
            child.stop(Signal::QUIT, Duration::from_secs(30)).await.map_err(ServerError::io("kill postgres"))?;
        }
        Ok(())
    }

    /// Starts it again on the same port with the same data; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.stop().await?;
        self.launch().await
    }

    fn child(&self) -> MutexGuard<'_, Option<ManagedChild>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.data().join("server.log")
    }

    async fn init(&self, options: &PostgresOptions) -> Result<(), ServerError> {
        let data = self.data();
        let password_file = self.directory.path().join("password");
        let prepare = || {
            fs::create_dir(&data)?;
            self.run_as.own(&data)?;
            fs::write(&password_file, "")?;
            fs::set_permissions(&password_file, PermissionsExt::from_mode(0o600))?;
            fs::write(&password_file, &self.password)?;
            self.run_as.own(&password_file)
        };
        prepare().map_err(ServerError::io("prepare a PostgreSQL cluster"))?;
        let mut initdb = Command::new(self.programs.join("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", USER, "-A", "password", "-E", "UTF8", "--locale=C", "--no-sync"]);
        initdb.arg("--pwfile").arg(&password_file).current_dir("/");
        self.run_as.apply(&mut initdb);
        run("initdb", initdb).await?;

        let mut configuration = String::from(
            "\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nlogging_collector = off\n\
             timezone = 'UTC'\nlog_timezone = 'UTC'\nshared_buffers = '64MB'\nmax_wal_size = '1GB'\n",
        );
        if !options.durable {
            configuration.push_str("fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n");
        }
        if let Some(tls) = &options.tls {
            self.copy_certificate(tls).map_err(ServerError::io("copy the certificate"))?;
            configuration.push_str("ssl = on\n");
        }
        for (name, value) in &options.settings {
            let _ = writeln!(configuration, "{name} = '{}'", value.replace('\'', "''"));
        }
        let file = data.join("postgresql.conf");
        let append =
            || io::Write::write_all(&mut fs::File::options().append(true).open(&file)?, configuration.as_bytes());
        append().map_err(ServerError::io("write postgresql.conf"))
    }

    /// PostgreSQL takes only a key that it owns and nobody else may read; the names are its defaults.
    fn copy_certificate(&self, tls: &TlsFiles) -> io::Result<()> {
        for (from, name) in [(&tls.certificate, "server.crt"), (&tls.key, "server.key")] {
            let to = self.data().join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, PermissionsExt::from_mode(0o600))?;
            self.run_as.own(&to)?;
        }
        Ok(())
    }

    async fn launch(&self) -> Result<(), ServerError> {
        let io = || ServerError::io("start postgres");
        let log = fs::File::options().create(true).append(true).open(self.log()).map_err(io())?;
        let mut command = Command::new(self.programs.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port().to_string());
        command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone().map_err(io())?).stderr(log);
        self.run_as.apply(&mut command);
        // SIGQUIT = immediate shutdown: the postmaster takes its backends with it.
        let child = ManagedChild::spawn(command, Signal::QUIT).map_err(io())?;
        *self.child() = Some(child);
        let start = Instant::now();
        loop {
            if self.is_ready() {
                return Ok(());
            }
            let ended = match self.child().as_mut().map(ManagedChild::try_wait) {
                Some(Ok(None)) => None,
                Some(Ok(Some(status))) => Some(status.to_string()),
                Some(Err(error)) => Some(error.to_string()),
                None => Some("killed".to_owned()),
            };
            let reason = ended.or_else(|| {
                (start.elapsed() > READY_MAX).then(|| format!("not ready within {} s", READY_MAX.as_secs()))
            });
            if let Some(reason) = reason {
                drop(self.child().take());
                return Err(ServerError::NotReady { program: "postgres", reason, log: log_tail(&self.log()) });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The eighth line of postmaster.pid is the status; the first one the process id.
    fn is_ready(&self) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let pid = lines.next().and_then(|line| line.trim().parse().ok());
        pid.is_some() && pid == self.pid() && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }
}

impl Drop for PostgresServer {
    // A drop cannot await; it takes milliseconds.
    #[allow(clippy::disallowed_methods)]
    fn drop(&mut self) {
        // A SIGKILL would leave the backends behind for a moment, writing into a directory that goes away.
        if let Some(mut child) = self.child().take() {
            let _ = child.signal(Signal::QUIT);
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(10) && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Runs a helper program to its end without blocking the runtime.
async fn run(program: &'static str, mut command: Command) -> Result<String, ServerError> {
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output())
        .await
        .map_err(|_| ServerError::Failed { program, output: "cancelled".into() })?
        .map_err(ServerError::io(format!("start {program}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(ServerError::Failed { program, output: text(&output.stderr) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_per_test_on_the_shared_server() {
        let server = PostgresServer::shared().await.unwrap();
        let (one, two) = (server.fresh_database().await.unwrap(), server.fresh_database().await.unwrap());
        assert_ne!(one, two);
        server.sql_at(&one, "CREATE TABLE t(i int); INSERT INTO t VALUES (1), (2)").await.unwrap();
        assert_eq!(server.sql_at(&one, "SELECT i, i * 2 FROM t ORDER BY i").await.unwrap(), "1|2\n2|4");
        assert!(server.sql_at(&two, "SELECT i FROM t").await.is_err());
    }

    #[tokio::test]
    async fn survives_a_crash_and_a_restart() {
        let server = PostgresOptions::new().durable().start().await.unwrap();
        let url = server.create_database("kept").await.unwrap();
        server.sql_at(&url, "CREATE TABLE t(i int); INSERT INTO t VALUES (7)").await.unwrap();
        server.kill().await.unwrap();
        assert!(server.sql_at(&url, "SELECT 1").await.is_err());
        server.restart().await.unwrap();
        assert_eq!(server.sql_at(&url, "SELECT i FROM t").await.unwrap(), "7");
        let pid = server.pid().unwrap();
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
