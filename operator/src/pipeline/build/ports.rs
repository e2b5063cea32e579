//! Ports of the roles, as the workers have them by default (CONTRACT section 6).

use crate::pipeline::resolve::Component;

/// A container's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port {
    /// Name in container and Service.
    pub(super) name: &'static str,
    pub(super) number: i32,
}

/// The ports of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    /// The one its Service has; serves `/metrics`, too.
    pub(super) service: Port,
    /// Serves `/live` and `/ready`.
    pub(super) health: Port,
}

const fn one(number: i32) -> Ports {
    let port = Port { name: "http", number };
    Ports { service: port, health: port }
}

const fn two(metrics: i32, health: i32) -> Ports {
    Ports { service: Port { name: "metrics", number: metrics }, health: Port { name: "health", number: health } }
}

impl Ports {
    /// Of a role; what runs once has none.
    pub(super) const fn of(component: Component) -> Option<Self> {
        match component {
            Component::Ingestor => Some(one(8080)),
            Component::Alerter => Some(two(8081, 8082)),
            Component::Forwarder => Some(two(8083, 8084)),
            Component::WebUi => Some(one(8090)),
            Component::Database => None,
        }
    }

    /// Every port once.
    pub(super) fn all(self) -> impl Iterator<Item = Port> {
        let health = (self.health != self.service).then_some(self.health);
        std::iter::once(self.service).chain(health)
    }
}

/// Whether clients from outside use the role, not only Prometheus.
pub(super) const fn has_clients(component: Component) -> bool {
    matches!(component, Component::Ingestor | Component::WebUi)
}
