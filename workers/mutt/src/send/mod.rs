//! `mutt send`: one event or a file to the ingest API, for trying things out.

mod event;
mod input;
mod post;
mod report;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mutt_secrets::Pair;

use crate::cli::{Output, Tool};
use crate::connect;
use crate::relay::ingest_resource;
use crate::settings::{Fault, Faults};
use crate::worker::{Fatal, Shutdown};

use event::Template;
use input::Input;
use post::Poster;
use report::Report;

/// Send one event, or every line of a file, to the ingest API.
///
/// The key is taken from INGEST_API_KEY or from the file that INGEST_API_KEY_FILE names. A busy or restarting ingestor
/// is asked again; nothing is queued twice by that. Ends with 1 if an event was refused.
#[derive(Args)]
#[command(after_help = "Examples:
  mutt send 'link down on port 7' --host core-1 --severity err
  mutt send --trap-oid 1.3.6.1.6.3.1.1.5.3 --host core-1 'linkDown'
  mutt send --file events.ndjson
  journalctl -o cat | mutt send --file -")]
pub(crate) struct SendArgs {
    /// The message of the event.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    message: Option<String>,
    /// Send each line of a file (`-` = standard input): a JSON event as it is, any other text as a message.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The ingestor, or its ingest resource [default: INGEST_URL, else http://localhost:8080].
    #[arg(long)]
    url: Option<String>,
    /// The device the event comes from [default: this machine's name].
    #[arg(long)]
    host: Option<String>,
    /// Severity: emerg, alert, crit, err, warning, notice, info or debug.
    #[arg(long, default_value = "notice")]
    severity: event::Severity,
    /// Makes it an SNMP trap with this OID.
    #[arg(long, value_name = "OID")]
    trap_oid: Option<String>,
    /// Events per request when a file is sent.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// PEM file of the CA that signed the ingestor's certificate [default: INGEST_CA_CERT_PATH, else the system's].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds to keep trying while the ingestor is away or busy.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    patience: u32,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the command.
///
/// # Errors
/// `Findings` if the ingestor refused an event; else what kept it from being sent.
pub(crate) async fn run(args: SendArgs, tool: Tool) -> Result<(), Fatal> {
    let poster = poster(&args, &tool)?;
    let template = Template {
        hostname: args.host.clone().unwrap_or_else(crate::settings::host_name),
        severity: args.severity,
        trap_oid: args.trap_oid.clone(),
    };
    let report = match (&args.message, &args.file) {
        (Some(message), _) => {
            let event = template.event(message, jiff::Timestamp::now());
            let mut report = Report::default();
            report.add(&[1], poster.post(&[event.into_bytes()], &tool.shutdown).await?);
            report
        }
        (None, Some(path)) => send_file(&args, &template, &poster, path, &tool.shutdown).await?,
        (None, None) => Report::default(),
    };
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => report.json(),
    };
    // Whoever reads the output may have gone; what was sent stands.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.refused() > 0 {
        return Err(Fatal::Findings(format!("{} of {} events were refused", report.refused(), report.sent())));
    }
    Ok(())
}

fn poster(args: &SendArgs, tool: &Tool) -> Result<Poster, Fatal> {
    let fault = |name: &str, what: &str| Fatal::Settings(Faults(vec![Fault::new(name, what.to_owned())]));
    let given = args.url.as_deref().or_else(|| tool.vars.get("INGEST_URL"));
    let url = ingest_resource(given.unwrap_or("http://localhost:8080"));
    let url = url.map_err(|what| fault(if args.url.is_some() { "--url" } else { "INGEST_URL" }, what))?;
    if tool.secrets.pair(Pair::Ingest).is_empty() {
        return Err(fault("INGEST_API_KEY", "needed (or INGEST_API_KEY_FILE); `mutt dev` prints the key it made"));
    }
    let ca = args.ca.clone().or_else(|| tool.vars.get("INGEST_CA_CERT_PATH").map(PathBuf::from));
    let mut builder = reqwest::Client::builder()
        .timeout(post::ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("mutt-send/", env!("CARGO_PKG_VERSION")));
    builder = if url.scheme() == "https" {
        builder.tls_backend_preconfigured(connect::tls_client(ca.as_deref())?)
    } else {
        builder.tls_certs_only([])
    };
    let client = builder.build().map_err(|error| Fatal::failed("HTTP client", error))?;
    Ok(Poster::new(client, url, tool.secrets.clone(), Duration::from_secs(args.patience.into())))
}

async fn send_file(
    args: &SendArgs,
    template: &Template,
    poster: &Poster,
    path: &Path,
    shutdown: &Shutdown,
) -> Result<Report, Fatal> {
    let mut input = Input::open(path)?;
    let progress = progress(input.bytes_total());
    let mut report = Report::default();
    let lines_max = args.batch as usize;
    loop {
        // On a thread of its own: standard input may keep silent, and Ctrl-C must work all the same.
        let reading = tokio::task::spawn_blocking(move || {
            let lines = input.next_lines(lines_max);
            (input, lines)
        });
        let (back, lines) = tokio::select! {
            read = reading => read.map_err(|error| Fatal::failed("reading ended early", error))?,
            () = shutdown.requested() => return Err(Fatal::Refused(format!("interrupted after {} events", report.sent()))),
        };
        input = back;
        let lines = lines.map_err(|error| Fatal::failed(format!("cannot read {}", path.display()), error))?;
        if lines.is_empty() {
            break;
        }
        let now = jiff::Timestamp::now();
        let (numbers, events): (Vec<u64>, Vec<Vec<u8>>) =
            lines.into_iter().map(|(number, line)| (number, template.line(&line, now))).unzip();
        report.add(&numbers, poster.post(&events, shutdown).await?);
        progress.set_position(input.bytes_read());
        progress.set_message(format!("{} events", report.sent()));
    }
    progress.finish_and_clear();
    Ok(report)
}

/// A bar on a terminal; a spinner where the length is not known; nothing else.
fn progress(bytes_total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes_total {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:40} {percent:>3} % {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
