//! `mutt-operator`: see `mutt-operator --help`.

use std::process::ExitCode;

use clap::Parser;
use mutt_operator::{
    external_metrics::{self, certificate, claim},
    pipeline, rules,
    runtime::{
        Args, Context, Fatal, Shutdown,
        args::Given,
        check, http, leadership, shutdown,
        supervise::Tasks,
        telemetry::{self, VERSION},
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Given::try_parse() {
        Ok(given) => start(given),
        Err(usage) => {
            let code = if usage.use_stderr() { 64 } else { 0 };
            // Nobody is left to tell when standard output is closed.
            let _ = usage.print();
            return ExitCode::from(code);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("mutt-operator: {fatal}");
            ExitCode::from(fatal.exit_code())
        }
    }
}

fn start(given: Given) -> Result<(), Fatal> {
    let args = Args::new(given)?;
    telemetry::init(&args)?;
    // One TLS stack for all clients; a second installation would be a no-op.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Blocking work is the compiling of rules (a piece at a time) and DNS. Look-ups of
    // several Redis servers may hang at the same time and must not hold the compiling up, so there is room for many; a
    // thread is made when it is needed, and an idle one ends.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(64).enable_all().build();
    let runtime = runtime.map_err(|error| Fatal::failed("cannot start the runtime", error))?;
    let outcome = runtime.block_on(operate(args));
    runtime.shutdown_background();
    outcome
}

async fn operate(args: Args) -> Result<(), Fatal> {
    if args.check {
        return check::check(&*Context::new(args).await?).await;
    }
    tracing::info!(version = VERSION, pod = args.pod_name, "mutt-operator starts");
    let shutdown = shutdown::on_signals().map_err(|error| Fatal::failed("cannot watch signals", error))?;
    let listener = http::bind(args.http_port).await?;
    let external_listener = external_metrics::bind(&args).await?;
    let context = Context::new(args).await?;
    let (end, ended) = Shutdown::channel();
    let mut base = Tasks::default();
    base.spawn("http", http::serve(listener, context.clone()));
    base.spawn("queues", context.queues.clone().keep());
    base.spawn("external metrics", external_metrics::serve(context.clone(), external_listener, ended));
    base.spawn("runtime", context.health.clone().turn());
    base.spawn("discovery", context.apis.clone().keep());
    base.spawn("certificate", certificate::keep(context.clone()));
    let work = || {
        let mut work = Tasks::default();
        work.spawn("pipelines", pipeline::run(context.clone(), shutdown.clone()));
        work.spawn("rules", rules::run(context.clone(), shutdown.clone()));
        work.spawn("external metrics", claim::run(context.clone(), shutdown.clone()));
        work
    };
    let outcome = tokio::select! {
        led = leadership::lead(&context, &shutdown, work) => led,
        ended = base.ended() => return Err(ended),
    };
    // It alone ends when asked, after what is under way: until now the API server had no reason to ask another replica.
    end.request();
    let _ = base.ended().await;
    outcome
}
