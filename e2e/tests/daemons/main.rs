//! Syslog and SNMP traps, sent by `logger` and `snmptrap` through the real rsyslogd and snmptrapd, come out as audit rows with
//! the device's name and as alerts; and nothing is missing when the ingestor, the relay and rsyslogd stop and die meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod collectors;

use std::collections::BTreeSet;
use std::process::Command;

use collectors::{AUTH, COMMUNITY, Collectors, ENGINE, PRIV, USER};
use mutt_e2e::{LIMIT, Pipeline, Role, RoleProcess, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

const INGEST_KEY: &str = "e2e-daemons-key";

/// The pipeline and the collectors before it.
struct Site {
    pipeline: Pipeline,
    ingestor: Option<RoleProcess>,
    _roles: [RoleProcess; 2],
    collectors: Collectors,
}

impl Site {
    async fn start() -> Self {
        let mut pipeline = Pipeline::start().await;
        pipeline.set("INGEST_API_KEY", INGEST_KEY);
        let ingestor = pipeline.run(Role::Ingestor).await;
        // The port stays when the ingestor is started again.
        pipeline.set("SERVER_PORT_INGESTOR", ingestor.port().to_string());
        let roles = [pipeline.run(Role::Alerter).await, pipeline.run(Role::Forwarder).await];
        let collectors = Collectors::start(&ingestor.url(), INGEST_KEY).await;
        Self { pipeline, ingestor: Some(ingestor), _roles: roles, collectors }
    }

    /// Audited events whose message holds `id`: the value of an expression over `event` (jsonb) and the row.
    async fn audited(&self, id: &str, expression: &str) -> String {
        let sql = format!(
            "SELECT DISTINCT {expression} FROM (SELECT *, raw_message::jsonb AS event FROM event_audit_log) AS rows \
             WHERE raw_message LIKE '%{id}%'"
        );
        self.pipeline.sql(&sql).await
    }

    /// Waits until an event with `id` is audited and compares an expression over it.
    async fn expect(&self, id: &str, expression: &str, want: &str) {
        eventually(&format!("audit of {id}"), async || !self.audited(id, "1").await.is_empty()).await;
        assert_eq!(self.audited(id, expression).await, want, "{expression}; {}", self.collectors.logs());
    }

    /// All ids of the audit that begin with `prefix`.
    async fn ids(&self, prefix: &str) -> BTreeSet<String> {
        let sql = format!("SELECT DISTINCT substring(raw_message FROM '({prefix}-[0-9]+);') FROM event_audit_log");
        self.pipeline.sql(&sql).await.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Waits until all of `sent` are audited.
    async fn expect_all(&self, prefix: &str, sent: &BTreeSet<String>) {
        let what = format!("all {} events {prefix}-… in the audit", sent.len());
        let start = std::time::Instant::now();
        eventually(&what, async || {
            let missing: Vec<_> = sent.difference(&self.ids(prefix).await).cloned().collect();
            if start.elapsed() > LIMIT / 2 {
                eprintln!(
                    "{} missing: {:?}; in the spool: {}",
                    missing.len(),
                    &missing[..missing.len().min(10)],
                    self.spooled(prefix)
                );
            }
            missing.is_empty()
        })
        .await;
    }

    /// Waits for an alert of `host` whose text holds `id`.
    async fn expect_alert(&self, id: &str, host: &str) {
        eventually(&format!("alert with {id}"), async || {
            self.pipeline.webhook.with_received(|all| {
                all.iter().any(|alert| alert.text("description").contains(id) && alert.text("source_id") == host)
            })
        })
        .await;
    }

    fn logger(&self, arguments: &[&str], message: &str) {
        let port = self.collectors.syslog_port.to_string();
        run(Command::new("logger").args(["-n", "127.0.0.1", "-P", &port]).args(arguments).arg("--").arg(message));
    }

    fn snmptrap(&self, arguments: &[&str]) {
        let target = format!("127.0.0.1:{}", self.collectors.trap_port);
        let arguments: Vec<&str> =
            arguments.iter().map(|word| if *word == "TARGET" { &target } else { *word }).collect();
        let mut command = Command::new("snmptrap");
        command.env("MIBS", "").env("MIBDIRS", "").env("SNMP_PERSISTENT_DIR", self.collectors.path("snmp"));
        run(command.args(arguments));
    }

    /// Sends numbered messages of a device over TCP and waits until rsyslogd has read them all.
    async fn storm(&self, prefix: &str, numbers: std::ops::Range<usize>) -> BTreeSet<String> {
        let line = |number| format!("<189>1 2026-03-01T12:00:00Z storm-1 router 1 - - {prefix}-{number}; link is up\n");
        let text = numbers.clone().map(line).collect::<Vec<_>>().concat();
        let mut stream = TcpStream::connect(("127.0.0.1", self.collectors.syslog_port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // rsyslogd closes its side once it has seen our end, so after the last message.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        numbers.map(|number| format!("{prefix}-{number}")).collect()
    }

    /// Number of different ids with `prefix` in the relay's spool.
    fn spooled(&self, prefix: &str) -> usize {
        let text = self.collectors.spooled();
        text.match_indices(&format!("{prefix}-")).count()
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn id() -> String {
    format!("id{}", Uuid::now_v7().simple())
}

/// The machine's name as `logger` sends it.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[tokio::test]
async fn what_logger_and_snmptrap_send_is_audited_and_alerted_with_the_devices_name() {
    let site = Site::start().await;
    syslog(&site).await;
    traps(&site).await;
}

async fn syslog(site: &Site) {
    let transports: [&[&str]; 4] =
        [&["-d", "--rfc3164"], &["-d", "--rfc5424"], &["-T", "--rfc3164"], &["-T", "--rfc5424"]];
    for arguments in transports {
        let id = id();
        site.logger(&[arguments, &["-p", "local3.err", "-t", "app"]].concat(), &format!("{id} says \"hello\\there\""));
        let message = format!("{id} says \"hello\\there\"");
        site.expect(&id, "event->>'message'", &message).await;
        let host = site.audited(&id, "hostname").await;
        assert!(host == host_name() || host_name().starts_with(&format!("{host}.")), "{host}");
        site.expect(
            &id,
            "(event->>'source') || ' ' || (event->>'facility') || ' ' || (event->>'source_ip')",
            "syslog local3 127.0.0.1",
        )
        .await;
    }
    // A router's line: the mnemonic stands in the tag's place; bytes that are not UTF-8.
    let id = id();
    let mut line = format!("<187>Mar  1 12:00:00 core-7 %ALERT-3-LINK: {id} gr").into_bytes();
    line.extend_from_slice(b"\xfcn");
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&line, ("127.0.0.1", site.collectors.syslog_port)).await.unwrap();
    site.expect(&id, "hostname || ' ' || (event->>'message')", &format!("core-7 %ALERT-3-LINK: {id} gr\u{fffd}n"))
        .await;
    site.expect_alert(&id, "core-7").await;
}

async fn traps(site: &Site) {
    let name = |address: &'static str| {
        let named = Collectors::HOSTS.iter().find(|(known, _)| *known == address && site.collectors.names);
        named.map_or(address, |(_, name)| *name)
    };
    let facts = "hostname || ' ' || (event->>'trap_oid') || ' ' || (event->>'source_ip') || ' ' || (event->>'source')";

    // SNMPv1 through a proxy, enterprise specific: the agent address is the device, the OID is enterprise.0.specific.
    let v1 = id();
    let quoted = format!("{v1} \"ALERT\" |~| \\ end");
    let community = ["-c", COMMUNITY];
    site.snmptrap(
        &[
            &["-v1"],
            &community[..],
            &["TARGET", "1.3.6.1.4.1.8072.2.3", "10.1.2.3", "6", "17", "100", "1.3.6.1.4.1.8072.2.1", "s", &quoted],
        ]
        .concat(),
    );
    site.expect(&v1, facts, "10.1.2.3 1.3.6.1.4.1.8072.2.3.0.17 10.1.2.3 snmp").await;
    site.expect(&v1, "event->'variables'->0->>'value'", &quoted).await;
    site.expect_alert(&v1, "10.1.2.3").await;

    // SNMPv1, generic (linkDown), from the device itself.
    let generic = id();
    let device = ["--clientaddr=127.0.0.9", "TARGET", "1.3.6.1.4.1.9", "127.0.0.9", "2", "0", "100"];
    site.snmptrap(&[&["-v1"], &community[..], &device, &["1.3.6.1.2.1.2.2.1.2", "s", &generic]].concat());
    site.expect(&generic, facts, &format!("{} 1.3.6.1.6.3.1.1.5.3 127.0.0.9 snmp", name("127.0.0.9"))).await;

    // SNMPv2c, trap and inform, from another address; text that net-snmp prints in hex, over several lines if it is long
    // (which `logger` would tear apart).
    let text = if site.collectors.names { "Zürich,\nHauptbahnhof, Gleis 3" } else { "Zürich" };
    for (kind, oid) in [(&["-v2c"][..], "1.3.6.1.6.3.1.1.5.3"), (&["-Ci", "-v2c"], "1.3.6.1.6.3.1.1.5.4")] {
        let id = id();
        let device = ["--clientaddr=127.0.0.9", "-c", COMMUNITY, "TARGET", "100", oid];
        let variables = ["1.3.6.1.2.1.2.2.1.2", "s", &id, "1.3.6.1.2.1.31.1.1.1.18", "s", text];
        site.snmptrap(&[kind, &device, &variables].concat());
        site.expect(&id, facts, &format!("{} {oid} 127.0.0.9 snmp", name("127.0.0.9"))).await;
        site.expect(&id, "event->'variables'->3->>'value'", text).await;
    }

    // SNMPv3, authenticated and encrypted.
    let v3 = id();
    let user = ["-v3", "-e", ENGINE, "-u", USER, "-l", "authPriv", "-a", "SHA", "-A", AUTH, "-x", "AES", "-X", PRIV];
    let trap = ["TARGET", "100", "1.3.6.1.4.1.8072.2.3.0.1", "1.3.6.1.4.1.8072.2.3.2.1", "s", &v3];
    site.snmptrap(&[&user[..], &trap].concat());
    site.expect(&v3, facts, &format!("{} 1.3.6.1.4.1.8072.2.3.0.1 127.0.0.1 snmp", name("127.0.0.1"))).await;
    site.expect(&v3, "event->>'snmp_version'", "v3").await;

    // No community gets into an event.
    assert_eq!(site.audited(COMMUNITY, "1").await, "");
}

#[tokio::test]
async fn nothing_is_missing_after_the_ingestor_the_relay_and_rsyslogd_went_down() {
    let mut site = Site::start().await;
    let before = site.storm("before", 0..200).await;
    site.expect_all("before", &before).await;

    let port = site.ingestor.as_ref().unwrap().port();
    site.ingestor.take().unwrap().terminate().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the ingestor is away");

    // The relay dies in the outage with events in its hands, and rsyslogd is restarted at once.
    let mut outage = site.storm("outage", 0..3000).await;
    eventually("the relay holds events of the outage", async || site.spooled("outage") > 500).await;
    assert!(site.collectors.kill_relays() > 0);
    outage.extend(site.storm("outage", 3000..4000).await);
    site.collectors.stop_rsyslogd().await;
    site.collectors.start_rsyslogd().await;
    outage.extend(site.storm("outage", 4000..5000).await);
    site.logger(&["-T", "--rfc5424"], "outage-5000; by logger");
    outage.insert("outage-5000".to_owned());
    let trap = format!("outage-{};", 5001);
    site.snmptrap(&["-v2c", "-c", COMMUNITY, "TARGET", "100", "1.3.6.1.6.3.1.1.5.3", "1.3.6.1.4.1.9", "s", &trap]);
    outage.insert("outage-5001".to_owned());
    site.collectors.kill_relays();

    site.ingestor = Some(site.pipeline.run(Role::Ingestor).await);
    let after = site.storm("after", 0..200).await;
    site.expect_all("after", &after).await;
    site.expect_all("outage", &outage).await;
}
