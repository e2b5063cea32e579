//! The cluster's DNS: pods find Services by name, `<service>.<namespace>.svc.cluster.local` and what the search list makes
//! of shorter names. There is nothing else to be found from a node without a way out.

use std::{net::Ipv4Addr, sync::Arc};

use serde_json::Value;
use tokio::{net::UdpSocket, task::JoinHandle};

use super::network;
use crate::{ClusterError, ControlPlane};

/// Suffix of the names of Services; the kubelet tells the pods.
pub(super) const DOMAIN: &str = "cluster.local";
const PORT: u16 = 53;
/// Longest message over UDP that is not negotiated (RFC 1035, 4.2.1); more is sent only by senders with options.
const MESSAGE_MAX: usize = 4096;
const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// Tests make Services anew.
const TTL_SECONDS: u32 = 0;

/// A running server; ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Dns {
    task: JoinHandle<()>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dns {
    /// Serves on the node's address, asking the API server for each name.
    pub(super) async fn start(control_plane: &ControlPlane) -> Result<Self, ClusterError> {
        let socket =
            UdpSocket::bind((network::NODE, PORT)).await.map_err(ClusterError::io("listen for questions of names"))?;
        let services = Services { client: control_plane.client().clone(), url: control_plane.url().to_owned() };
        Ok(Self { task: tokio::spawn(serve(Arc::new(socket), services)) })
    }
}

async fn serve(socket: Arc<UdpSocket>, services: Services) {
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        // An error here is about an answer sent before, to a pod that has ended.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(question) = Question::read(&buffer[..length]) else { continue };
        let (socket, services) = (socket.clone(), services.clone());
        tokio::spawn(async move {
            let found = match service_of(&question.name) {
                Some((name, namespace)) => services.address(name, namespace).await,
                None => Found::Nothing,
            };
            let _ = socket.send_to(&question.answer(found), from).await;
        });
    }
}

/// What there is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Address(Ipv4Addr),
    /// The name exists and has no address of its own.
    NoAddress,
    Nothing,
    Unknown,
}

impl Found {
    /// RFC 1035, 4.1.1.
    fn code(self) -> u8 {
        match self {
            Self::Address(_) | Self::NoAddress => 0,
            Self::Unknown => 2,
            Self::Nothing => 3,
        }
    }
}

#[derive(Debug, Clone)]
struct Services {
    client: reqwest::Client,
    url: String,
}

impl Services {
    async fn address(&self, name: &str, namespace: &str) -> Found {
        let url = format!("{}/api/v1/namespaces/{namespace}/services/{name}", self.url);
        let Ok(answer) = self.client.get(url).send().await else { return Found::Unknown };
        if answer.status() == 404 {
            return Found::Nothing;
        }
        match answer.json::<Value>().await {
            Ok(service) => {
                let address = service["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok());
                address.map_or(Found::NoAddress, Found::Address)
            }
            Err(_) => Found::Unknown,
        }
    }
}

/// Service and namespace of a name.
fn service_of(name: &str) -> Option<(&str, &str)> {
    let (service, namespace) = name.strip_suffix(DOMAIN)?.strip_suffix(".svc.")?.split_once('.')?;
    let is_label = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    (is_label(service) && is_label(namespace)).then_some((service, namespace))
}

/// The one question of a message; there are never more.
#[derive(Debug)]
struct Question {
    id: [u8; 2],
    recursion_desired: u8,
    /// In lower case, without the last dot.
    name: String,
    kind: u16,
    class: u16,
    /// As it was asked; an answer repeats it.
    bytes: Vec<u8>,
}

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let header = message.get(..HEADER)?;
        // A query with one question.
        if header[2] & 0xf8 != 0 || header[4..6] != [0, 1] {
            return None;
        }
        let mut labels = Vec::new();
        let mut position = HEADER;
        loop {
            let length = usize::from(*message.get(position)?);
            position += 1;
            if length == 0 {
                break;
            }
            // Longer ones would be pointers, which no question has.
            if length > 63 {
                return None;
            }
            labels.push(String::from_utf8_lossy(message.get(position..position + length)?).to_ascii_lowercase());
            position += length;
        }
        let fields = message.get(position..position + 4)?;
        Some(Self {
            id: [header[0], header[1]],
            recursion_desired: header[2] & 1,
            name: labels.join("."),
            kind: u16::from_be_bytes([fields[0], fields[1]]),
            class: u16::from_be_bytes([fields[2], fields[3]]),
            bytes: message[HEADER..position + 4].to_vec(),
        })
    }

    fn answer(&self, found: Found) -> Vec<u8> {
        let address = match found {
            Found::Address(address) if self.kind == TYPE_A && self.class == CLASS_IN => Some(address),
            _ => None,
        };
        // An authoritative response; recursion is available, for clients that insist on it.
        let flags = [0x84 | self.recursion_desired, 0x80 | found.code()];
        let counts = [0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
        let mut message = [&self.id[..], &flags, &counts, &self.bytes].concat();
        if let Some(address) = address {
            // The name is the question's.
            message.extend([0xc0, HEADER as u8]);
            message.extend(TYPE_A.to_be_bytes());
            message.extend(CLASS_IN.to_be_bytes());
            message.extend(TTL_SECONDS.to_be_bytes());
            message.extend(4_u16.to_be_bytes());
            message.extend(address.octets());
        }
        message
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message
    }

    #[test]
    fn services_have_names_and_nothing_else_has() {
        assert_eq!(service_of("mutt-operator.mutt-system.svc.cluster.local"), Some(("mutt-operator", "mutt-system")));
        for other in [
            "mutt-operator.mutt-system.svc",
            "cluster.local",
            "a.b.c.svc.cluster.local",
            "..svc.cluster.local",
            "a.../x.svc.cluster.local",
        ] {
            assert_eq!(service_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_question_for_an_address_is_answered() {
        let asked = query("Core.netops.svc.cluster.local", TYPE_A);
        let question = Question::read(&asked).unwrap();
        assert_eq!(question.name, "core.netops.svc.cluster.local");
        let answer = question.answer(Found::Address(Ipv4Addr::new(10, 96, 1, 2)));
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 96, 1, 2];
        let header = [7, 9, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        assert_eq!(answer, [&header[..], &asked[12..], &record].concat());
    }

    #[test]
    fn other_kinds_of_a_name_are_empty_and_other_names_do_not_exist() {
        let question = Question::read(&query("core.netops.svc.cluster.local", 28)).unwrap();
        assert_eq!(question.answer(Found::Address(Ipv4Addr::LOCALHOST))[2..8], [0x85, 0x80, 0, 1, 0, 0]);
        assert_eq!(question.answer(Found::Nothing)[3], 0x83);
    }

    #[test]
    fn a_message_that_is_cut_is_no_question() {
        let whole = query("core.netops.svc.cluster.local", TYPE_A);
        for length in 0..whole.len() {
            assert!(Question::read(&whole[..length]).is_none(), "{length} bytes");
        }
    }
}
