//! The real rsyslogd and snmptrapd with the files of `manifests/`, on ports and paths of the test.
//!
//! syslog(3) of snmptrapd writes to /dev/log, which a test must not take from the machine: snmptrapd runs in a mount namespace
//! of its own, with a /dev/log and an /etc/hosts of the test. Where no namespace can be made, its output goes through `logger`
//! instead, and devices have no names.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mutt_e2e::{eventually, mutt, repository};
use mutt_servers::{ManagedChild, free_port};
use rustix::process::{Pid, Signal, kill_process};

/// The community of the test's traps.
pub(crate) const COMMUNITY: &str = "e2e-community";
/// Engine id, user and passphrases of the test's SNMPv3 device.
pub(crate) const ENGINE: &str = "0x8000000001020304";
pub(crate) const USER: &str = "e2e-user";
pub(crate) const AUTH: &str = "e2e-auth-passphrase";
pub(crate) const PRIV: &str = "e2e-priv-passphrase";

/// In the private namespace: /dev is a tmpfs with links to the devices and to the test's socket; names come from a file.
const IN_NAMESPACE: &str = r#"
set -e
mount --rbind /dev "$D/dev"
mount -t tmpfs tmpfs /dev
for node in null zero full random urandom tty; do ln -s "$D/dev/$node" "/dev/$node"; done
ln -s "$D/log.sock" /dev/log
mount --bind "$D/hosts" /etc/hosts
if [ -e /etc/nsswitch.conf ]; then mount --bind "$D/nsswitch.conf" /etc/nsswitch.conf; fi
exec "$@"
"#;

/// rsyslogd and snmptrapd of one test.
pub(crate) struct Collectors {
    directory: tempfile::TempDir,
    /// UDP and TCP port of rsyslogd.
    pub(crate) syslog_port: u16,
    /// UDP port of snmptrapd.
    pub(crate) trap_port: u16,
    rsyslogd: Option<ManagedChild>,
    snmptrapd: Option<ManagedChild>,
    logger: Option<ManagedChild>,
    /// Whether devices have the names of [`Self::HOSTS`].
    pub(crate) names: bool,
}

impl Collectors {
    /// Names of devices: address, name.
    pub(crate) const HOSTS: [(&str, &str); 2] = [("127.0.0.9", "core-9.example.net"), ("127.0.0.1", "localhost")];

    /// Writes the configuration and starts both.
    pub(crate) async fn start(ingest_url: &str, ingest_key: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut collectors = Self {
            syslog_port: free_port().unwrap(),
            trap_port: free_port().unwrap(),
            rsyslogd: None,
            snmptrapd: None,
            logger: None,
            names: false,
            directory,
        };
        collectors.configure_rsyslog(ingest_url, ingest_key);
        collectors.configure_snmptrapd();
        collectors.names = collectors.namespaces_work();
        collectors.start_rsyslogd().await;
        collectors.start_snmptrapd().await;
        collectors
    }

    /// A file of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn configure_rsyslog(&self, ingest_url: &str, ingest_key: &str) {
        let place = self.directory.path().display().to_string();
        fs::create_dir(self.path("work")).unwrap();
        let relay = format!("{} relay --settings {place}/relay.env", mutt().display());
        let config = manifest("rsyslog/99-mutt.conf");
        let config = replaced(&config, "port=\"514\"", &format!("port=\"{}\"", self.syslog_port));
        let config = replaced(&config, "/usr/local/bin/mutt relay --settings /etc/mutt/relay.env", &relay);
        let config = replaced(&config, "/var/log/mutt-relay.log", &format!("{place}/relay.log"));
        self.write("99-mutt.conf", &config);
        self.write(
            "rsyslog.conf",
            &format!(
                "global(workDirectory=\"{place}/work\")\n\
                 module(load=\"imuxsock\" SysSock.Name=\"{place}/log.sock\" SysSock.RateLimit.Interval=\"0\")\n\
                 include(file=\"{place}/99-mutt.conf\")\n"
            ),
        );
        let settings = manifest("rsyslog/relay.env");
        let settings = replaced(&settings, "http://localhost:8080", ingest_url);
        let settings = replaced(&settings, "/etc/mutt/secrets/ingest_api_key", &format!("{place}/ingest_api_key"));
        let settings =
            replaced(&settings, "#RELAY_SPOOL_DIR=/var/spool/mutt", &format!("RELAY_SPOOL_DIR={place}/spool"));
        self.write("relay.env", &format!("{settings}LOG_LEVEL=INFO\nSHUTDOWN_TIMEOUT=2\n"));
        self.write("ingest_api_key", ingest_key);
    }

    fn configure_snmptrapd(&self) {
        fs::create_dir(self.path("snmp")).unwrap();
        fs::create_dir(self.path("dev")).unwrap();
        let users = self.path("mutt-users.conf").display().to_string();
        self.write(
            "snmptrapd.conf",
            &replaced(&manifest("snmptrapd/snmptrapd.conf"), "/etc/snmp/mutt-users.conf", &users),
        );
        let mut users = manifest("snmptrapd/mutt-users.conf");
        for (placeholder, value) in [
            ("CHANGE-ME-community", COMMUNITY),
            ("0xCHANGE-ME-engine", ENGINE),
            ("CHANGE-ME-user", USER),
            ("CHANGE-ME-auth-passphrase", AUTH),
            ("CHANGE-ME-priv-passphrase", PRIV),
        ] {
            users = replaced(&users, placeholder, value);
        }
        self.write("mutt-users.conf", &users);
        let hosts = Self::HOSTS.map(|(address, name)| format!("{address} {name}\n")).concat();
        self.write("hosts", &hosts);
        self.write("nsswitch.conf", "hosts: files\npasswd: files\ngroup: files\n");
        for name in ["hosts", "nsswitch.conf"] {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
    }

    /// Starts rsyslogd and waits until it listens.
    pub(crate) async fn start_rsyslogd(&mut self) {
        let mut command = Command::new(daemon("rsyslogd"));
        command.arg("-n").arg("-f").arg(self.path("rsyslog.conf")).arg("-i").arg(self.path("rsyslogd.pid"));
        self.redirect(&mut command, "rsyslogd.log");
        self.rsyslogd = Some(ManagedChild::spawn(command, Signal::TERM).unwrap());
        let port = self.syslog_port;
        eventually("rsyslogd listens", async || {
            assert!(self.rsyslogd.as_mut().unwrap().try_wait().unwrap().is_none(), "rsyslogd ended: {}", self.logs());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() && self.path("log.sock").exists()
        })
        .await;
    }

    /// Stops rsyslogd as the service manager does and waits for its end.
    pub(crate) async fn stop_rsyslogd(&mut self) {
        let mut child = self.rsyslogd.take().unwrap();
        child.stop(Signal::TERM, Duration::from_mins(1)).await.unwrap();
    }

    /// A command to whose arguments the program is added that runs in the namespace.
    fn in_namespace(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", IN_NAMESPACE, "sh"]);
        command.env("D", self.directory.path());
        command
    }

    /// Whether the namespace can be made here, all of it.
    fn namespaces_work(&self) -> bool {
        let mut command = self.in_namespace();
        command.args(["test", "-w", "/dev/null"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    async fn start_snmptrapd(&mut self) {
        let place = self.directory.path();
        let config = self.path("snmptrapd.conf").display().to_string();
        let listen = format!("udp:127.0.0.1:{}", self.trap_port);
        let program = daemon("snmptrapd");
        let daemon = [program.as_str(), "-f", "-C", "-c", &config];
        let mut command;
        if self.names {
            command = self.in_namespace();
            command.args(daemon).args(["-Ls5", &listen]);
        } else {
            command = Command::new(daemon[0]);
            command.args(&daemon[1..]).args(["-n", "-Lf", "/dev/stdout", &listen]);
        }
        command.env("MIBS", "").env("MIBDIRS", place.join("snmp"));
        command.env("SNMP_PERSISTENT_DIR", place.join("snmp"));
        self.redirect(&mut command, "snmptrapd.log");
        if !self.names {
            command.stdout(Stdio::piped());
        }
        let mut child = ManagedChild::spawn(command, Signal::TERM).unwrap();
        if let Some(output) = child.streams().stdout.take() {
            let mut command = Command::new("logger");
            command
                .arg("--socket")
                .arg(self.path("log.sock"))
                .args(["-p", "local5.info", "-t", "snmptrapd"])
                .stdin(output);
            self.logger = Some(ManagedChild::spawn(command, Signal::TERM).unwrap());
        }
        self.snmptrapd = Some(child);
        // It binds its port before it reads packets; the port is in the kernel's table then.
        let entry = format!("0100007F:{:04X}", self.trap_port);
        eventually("snmptrapd listens", async || {
            assert!(self.snmptrapd.as_mut().unwrap().try_wait().unwrap().is_none(), "snmptrapd ended: {}", self.logs());
            fs::read_to_string("/proc/net/udp").unwrap().contains(&entry)
        })
        .await;
    }

    /// Kills every relay of these collectors (SIGKILL); says how many there were.
    pub(crate) fn kill_relays(&self) -> usize {
        let settings = self.path("relay.env").display().to_string();
        let mut count = 0;
        for entry in fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) else { continue };
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
            if words.contains(&b"relay".as_slice())
                && words.contains(&settings.as_bytes())
                && kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).is_ok()
            {
                count += 1;
            }
        }
        count
    }

    /// Text of all lines that wait in the relay's spool (or are sent and not deleted yet).
    pub(crate) fn spooled(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.path("spool")).into_iter().flatten().flatten() {
            text.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
        }
        text
    }

    /// What the daemons and the relay logged, for a failing test.
    pub(crate) fn logs(&self) -> String {
        ["rsyslogd.log", "snmptrapd.log", "relay.log"]
            .map(|name| format!("--- {name}\n{}", fs::read_to_string(self.path(name)).unwrap_or_default()))
            .join("\n")
    }

    fn redirect(&self, command: &mut Command, log: &str) {
        let log = File::options().create(true).append(true).open(self.path(log)).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    }
}

impl Drop for Collectors {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for mut child in [self.snmptrapd.take(), self.logger.take(), self.rsyslogd.take()].into_iter().flatten() {
            let _ = child.kill();
        }
        self.kill_relays();
    }
}

/// A daemon's program: /usr/sbin is not in every user's PATH.
fn daemon(name: &str) -> String {
    let path = format!("/usr/sbin/{name}");
    if Path::new(&path).exists() { path } else { name.to_owned() }
}

/// A file below `manifests/`.
fn manifest(name: &str) -> String {
    let path = repository().join("manifests").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Replaces all of `from`, which must be there: else the file has changed and the test would not test it.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in the file any more");
    text.replace(from, to)
}
