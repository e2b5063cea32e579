//! The two ports of a worker that serves nothing else: metrics and health.

use prometheus::Registry;
use tokio::task::JoinSet;

use super::{Health, Limits, Tls, bind, health_router, metrics_router, serve_router};
use crate::{
    settings::ServerTls,
    worker::{Fatal, Shutdown},
};

/// Opens both ports and serves them as tasks of `tasks`, until the end is asked for.
pub(crate) async fn serve_ports(
    (metrics_port, registry): (u16, &Registry),
    (health_port, health): (u16, &Health),
    tls: Option<&ServerTls>,
    end: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Result<(), Fatal> {
    let tls = Tls::load_optional(tls, registry)?;
    for (port, router) in [(metrics_port, metrics_router(registry)), (health_port, health_router(health))] {
        let listener = bind(port).await?;
        tasks.spawn(serve_router(listener, tls.clone(), Limits::default(), end.clone(), router));
    }
    if let Some(tls) = tls {
        tasks.spawn(tls.watch(end.clone()));
    }
    Ok(())
}
