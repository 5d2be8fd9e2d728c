//! A door before the shop's Prometheus: a server over loopback that lets a query in, or says no in its own way.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::Shop;

/// A request, as the door looks at it.
#[derive(Clone)]
pub struct Knock {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: hyper::HeaderMap,
    pub body: String,
    /// The certificate of the client.
    pub certificate: Option<Vec<u8>>,
}

/// How a door says no: status, headers, body.
#[derive(Clone)]
pub struct Refused(pub u16, pub Vec<(&'static str, String)>, pub String);

type Gate = Arc<dyn Fn(&Knock) -> Result<(), Refused> + Send + Sync>;

/// A door that is open for as long as this is kept.
pub struct Door {
    address: SocketAddr,
    scheme: &'static str,
    knocks: Arc<Mutex<Vec<Knock>>>,
}

/// A certificate and its key, in DER.
pub struct Certificate {
    pub der: CertificateDer<'static>,
    key: KeyPair,
}

/// An authority of the tests' own.
pub struct Authority {
    pub root: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Knock {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Lets in who has this header.
    pub fn wants(&self, name: &str, value: &str, refused: Refused) -> Result<(), Refused> {
        match self.header(name) == Some(value) {
            true => Ok(()),
            false => Err(refused),
        }
    }
}

impl Door {
    /// Over HTTP.
    pub async fn open(
        shop: &Shop,
        gate: impl Fn(&Knock) -> Result<(), Refused> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(shop, None, Arc::new(gate)).await
    }

    /// Over TLS.
    pub async fn over_tls(
        shop: &Shop,
        tls: ServerConfig,
        gate: impl Fn(&Knock) -> Result<(), Refused> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(shop, Some(TlsAcceptor::from(Arc::new(tls))), Arc::new(gate)).await
    }

    async fn serve(shop: &Shop, tls: Option<TlsAcceptor>, gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let knocks = Arc::default();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (behind, heard) = (shop.prometheus(), Arc::clone(&knocks));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (gate, heard, behind) = (Arc::clone(&gate), Arc::clone(&heard), behind.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => answer_all(stream, None, gate, heard, behind).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else {
                                return;
                            };
                            let certificates = stream.get_ref().1.peer_certificates();
                            let certificate = certificates.map(|chain| chain[0].to_vec());
                            answer_all(stream, certificate, gate, heard, behind).await;
                        }
                    }
                });
            }
        });
        Self {
            address,
            scheme,
            knocks,
        }
    }

    /// Where it is, under this host.
    pub fn url(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that came, oldest first.
    pub fn knocks(&self) -> Vec<Knock> {
        self.knocks.lock().unwrap().clone()
    }
}

async fn answer_all(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    certificate: Option<Vec<u8>>,
    gate: Gate,
    heard: Arc<Mutex<Vec<Knock>>>,
    behind: String,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (gate, heard, behind) = (Arc::clone(&gate), Arc::clone(&heard), behind.clone());
        let certificate = certificate.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let knock = Knock {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
                certificate,
            };
            heard.lock().unwrap().push(knock.clone());
            Ok::<_, Infallible>(match gate(&knock) {
                Ok(()) => pass_on(&knock, &behind).await,
                Err(Refused(status, headers, body)) => {
                    let mut response = Response::builder().status(status);
                    for (name, value) in headers {
                        response = response.header(name, value);
                    }
                    response.body(Full::from(body)).unwrap()
                }
            })
        }
    });
    let serving = hyper::server::conn::http1::Builder::new();
    let _ = serving
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What Prometheus behind the door says.
async fn pass_on(knock: &Knock, behind: &str) -> Response<Full<Bytes>> {
    install_tls();
    // What stands before the API's own path is the door's.
    let (_, path) = knock.path.split_once("/api/").unwrap();
    let url = format!("{behind}/api/{path}?{}", knock.query);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = match knock.method.as_str() {
        "POST" => client
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(knock.body.clone()),
        _ => client.get(url),
    };
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    Response::builder()
        .status(status)
        .body(Full::from(body))
        .unwrap()
}

fn install_tls() {
    // Another test may have been first; the provider is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        let again = KeyPair::try_from(key.serialized_der()).unwrap();
        Self {
            root: Certificate { der, key },
            issuer: Issuer::new(params, again),
        }
    }

    /// A certificate for a host, an address or a user.
    pub fn sign(&self, name: &str) -> Certificate {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        Certificate {
            der: signed.der().clone(),
            key,
        }
    }

    /// A server that shows the authority's own certificate.
    pub fn as_server(&self) -> ServerConfig {
        install_tls();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.root.key.serialize_der()));
        let builder = ServerConfig::builder().with_no_client_auth();
        builder
            .with_single_cert(vec![self.root.der.clone()], key)
            .unwrap()
    }

    /// A server for this name whose certificate ended with a year.
    pub fn server_until(&self, name: &str, year: i32) -> ServerConfig {
        install_tls();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(year, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = ServerConfig::builder().with_no_client_auth();
        builder
            .with_single_cert(vec![signed.der().clone()], key)
            .unwrap()
    }

    /// A server for this name; with `clients` it lets in only those whose certificates they signed.
    pub fn server(&self, name: &str, clients: &[&Authority]) -> ServerConfig {
        install_tls();
        let certificate = self.sign(name);
        let builder = ServerConfig::builder();
        let builder = match clients {
            [] => builder.with_no_client_auth(),
            clients => {
                let mut roots = RootCertStore::empty();
                for authority in clients {
                    roots.add(authority.root.der.clone()).unwrap();
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.key.serialize_der()));
        builder
            .with_single_cert(vec![certificate.der], key)
            .unwrap()
    }
}

impl Certificate {
    /// Writes certificate and key as `NAME.pem` and `NAME-key.pem`.
    pub fn write(&self, shop: &Shop, name: &str) {
        let folder = shop.folder();
        let certificate = pem("CERTIFICATE", &self.der);
        std::fs::write(folder.join(format!("{name}.pem")), certificate).unwrap();
        let key = pem("PRIVATE KEY", &self.key.serialize_der());
        std::fs::write(folder.join(format!("{name}-key.pem")), key).unwrap();
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
