//! Child processes that end with this one, whatever way it ends.

use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::ServerError;

/// How often an ending process is looked at.
const POLL: Duration = Duration::from_millis(5);

struct Order {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

/// The kernel sends a child's parent-death signal when the *thread* that forked it ends. So all children are
/// forked by one thread that lives as long as the process.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, incoming) = mpsc::channel::<Order>();
    let thread = thread::Builder::new().name("spawner".into()).spawn(move || {
        for Order { mut command, reply } in incoming {
            // The asker is gone if its task was cancelled; the child must not stay then.
            if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    });
    if let Err(error) = thread {
        tracing::error!(%error, "no thread to start processes from");
    }
    Mutex::new(orders)
});

/// Lets the kernel send `signal` to the command's process when this process ends.
#[allow(unsafe_code)]
fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = std::process::id();
    // SAFETY: the closure makes two system calls and allocates nothing, so it may run between fork and exec.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(signal))?;
            let still_there =
                rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
            if still_there { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

/// A child process of its own process group (Ctrl-C on the terminal does not reach it) that is killed when
/// this value is dropped or when this process ends.
#[derive(Debug)]
pub struct ManagedChild {
    child: Child,
}

impl ManagedChild {
    /// Starts `command`; `on_parent_death` is what the kernel sends to it when this process ends.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(mut command: Command, on_parent_death: Signal) -> io::Result<Self> {
        command.process_group(0);
        Self::spawn_attached(command, on_parent_death)
    }

    /// As [`Self::spawn`], but the child stays in this process's group: it may read from the terminal, and Ctrl-C
    /// reaches it.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn_attached(mut command: Command, on_parent_death: Signal) -> io::Result<Self> {
        end_with_parent(&mut command, on_parent_death);
        let (reply, answer) = mpsc::sync_channel(1);
        let gone = |_| io::Error::other("the thread that starts processes has ended");
        SPAWNER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(Order { command, reply })
            .map_err(|_| io::Error::other("no thread to start processes from"))?;
        Ok(Self { child: answer.recv().map_err(gone)?? })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child's standard streams, where they were piped.
    pub fn streams(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal` to the process.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        kill_process(pid, signal).map_err(io::Error::from)
    }

    /// The exit status, if the process has ended.
    ///
    /// # Errors
    /// When the operating system cannot say.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the process ends; `None` when it has not within `limit`.
    ///
    /// # Errors
    /// When the operating system cannot say.
    pub async fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if start.elapsed() >= limit {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends `signal` and waits; kills the process when it has not ended within `grace`.
    ///
    /// # Errors
    /// When the operating system cannot say how it ended.
    pub async fn stop(&mut self, signal: Signal, grace: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let _ = self.signal(signal);
        if let Some(status) = self.wait(grace).await? {
            return Ok(status);
        }
        self.kill()
    }

    /// Kills the process (SIGKILL) and takes its status.
    ///
    /// # Errors
    /// When the operating system cannot say how it ended.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for ManagedChild {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Finds a program in PATH and in `more` directories; entries that end in `/*` stand for any version
/// (`/usr/lib/postgresql/*/bin` is written as `("/usr/lib/postgresql", "bin")`).
///
/// # Errors
/// [`ServerError::NotInstalled`].
pub fn find_program(program: &'static str, versioned: &[(&str, &str, &str)]) -> Result<PathBuf, ServerError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    for (root, name_prefix, below) in versioned {
        directories.extend(newest_first(Path::new(root), name_prefix).into_iter().map(|version| version.join(below)));
    }
    directories.extend(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
    directories.iter().map(|directory| directory.join(program)).find(|file| file.is_file()).ok_or_else(|| {
        ServerError::NotInstalled {
            program,
            looked_in: directories
                .iter()
                .map(|directory| directory.display().to_string())
                .collect::<Vec<_>>()
                .join(":"),
        }
    })
}

fn newest_first(root: &Path, name_prefix: &str) -> Vec<PathBuf> {
    let version = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(name_prefix)?.split('.').next()?.parse::<u32>().ok()
    };
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((version(&entry.path())?, entry.path())))
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The last lines of a log file, for error messages.
pub(crate) fn log_tail(file: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
