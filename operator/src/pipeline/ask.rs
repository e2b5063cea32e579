//! What a pod that runs and is not ready says of itself, by its readiness probe.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::util::intstr::IntOrString};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::symptoms::is_ready;

/// Bound of the question to a pod.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Bound of its answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Where a pod is asked.
struct Probe {
    ip: IpAddr,
    port: u16,
    path: String,
    tls: bool,
}

/// The words of the first of `pods` that runs and is not ready.
pub(super) async fn ask(pods: &[Pod]) -> Option<String> {
    let unready = pods.iter().find(|pod| is_running(pod) && !is_ready(pod))?;
    let name = unready.metadata.name.as_deref().unwrap_or_default();
    let probe = probe_of(unready)?;
    let answer = tokio::time::timeout(ASK_TIMEOUT, get(&probe)).await.ok()??;
    let error = serde_json::from_slice::<Value>(&answer).ok()?["error"].as_str()?.to_owned();
    Some(format!("pod {name} is not ready: {error}"))
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

fn probe_of(pod: &Pod) -> Option<Probe> {
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let container = pod.spec.as_ref()?.containers.first()?;
    let probe = container.readiness_probe.as_ref()?.http_get.as_ref()?;
    let port = match &probe.port {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => {
            container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name))?.container_port
        }
    };
    Some(Probe {
        ip,
        port: port.try_into().ok()?,
        path: probe.path.clone().unwrap_or_else(|| "/".to_owned()),
        tls: probe.scheme.as_deref() == Some("HTTPS"),
    })
}

async fn get(probe: &Probe) -> Option<Bytes> {
    let stream = TcpStream::connect((probe.ip, probe.port)).await.ok()?;
    if !probe.tls {
        return get_over(stream, probe).await;
    }
    let config = unverified().ok()?;
    let name = ServerName::IpAddress(probe.ip.into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    get_over(stream, probe).await
}

async fn get_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, probe: &Probe) -> Option<Bytes> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let host = std::net::SocketAddr::new(probe.ip, probe.port).to_string();
    let request = Request::get(&probe.path).header("host", host).body(Empty::<Bytes>::new()).ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .ok()
            .map(http_body_util::Collected::to_bytes)
    };
    // Driven until the answer is there. Its end is no answer's end: what came with it is still to be taken.
    let driven = connection.then(|_| std::future::pending::<()>());
    tokio::select! {
        answer = answer => answer,
        () = driven => None,
    }
}

/// Like the kubelet's probes: a pod's certificate names Services, not addresses. Nothing is sent but the question, and the answer is
/// only shown.
fn unverified() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth())
}

/// Takes every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn pod(port: u16, scheme: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "mutt", "ports": [{"name": "health", "containerPort": port}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "health", "scheme": scheme}}}]},
            "status": {"phase": "Running", "podIP": "127.0.0.1"},
        }))
        .unwrap()
    }

    /// Takes one question and answers as a pod that is not ready does.
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        assert!(asked.starts_with(b"GET /ready HTTP/1.1\r\n"));
        let body = r#"{"status": "not ready", "error": "postgres: no route"}"#;
        let head = format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_pod_that_is_not_ready_is_asked_why() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
        assert_eq!(ask(&[pod(port, "HTTP")]).await.as_deref(), Some("pod p is not ready: postgres: no route"));
        server.await.unwrap();
    }

    #[tokio::test]
    async fn one_with_a_certificate_is_asked_whoever_has_signed_it() {
        let made = rcgen::generate_simple_self_signed(["core-alerter.netops.svc".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            answer(acceptor.accept(stream).await.unwrap()).await;
        });
        assert_eq!(ask(&[pod(port, "HTTPS")]).await.as_deref(), Some("pod p is not ready: postgres: no route"));
        server.await.unwrap();
    }
}
