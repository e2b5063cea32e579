//! Certificates of the private servers.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::ServerError;

/// Certificate, key and CA of a TLS listener, as PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CA that signed it.
    pub ca: PathBuf,
}

impl TlsFiles {
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, ServerError> {
        let bad = |error: Box<dyn std::error::Error + Send + Sync>| {
            ServerError::io("read the certificate")(io::Error::new(io::ErrorKind::InvalidData, error))
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate).map_err(|error| bad(error.into()))?;
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| bad(error.into()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| bad(error.into()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| bad(error.into()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
