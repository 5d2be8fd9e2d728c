//! Queries with AWS' signature, checked by the rules of Signature Version 4 as AWS publishes them:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write as _;

use ring::{digest, hmac};

use crate::door::{Door, Knock, Refused};
use crate::harness::{Ran, Shop};

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "session-of-a-role-4711";
const REGION: &str = "eu-central-1";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn denied(why: &str) -> Refused {
    Refused(403, Vec::new(), format!(r#"{{"message":"{why}"}}"#))
}

/// Lets in whose signature fits what has come, byte for byte.
fn wants_signature(knock: &Knock) -> Result<(), Refused> {
    let missing = || denied("Missing Authentication Token");
    let header = |name: &str| knock.header(name).ok_or_else(missing);
    let said = header("authorization")?;
    let said = said.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(missing)?;
    let part = |name: &str| {
        let parts = said.split(", ");
        let mut values = parts.filter_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        values.next().ok_or_else(missing)
    };
    let (credential, names, signature) = (
        part("Credential")?,
        part("SignedHeaders")?,
        part("Signature")?,
    );
    let time = header("x-amz-date")?;
    let date = &time[..8];
    let scope = format!("{date}/{REGION}/aps/aws4_request");
    assert_eq!(credential, format!("{KEY}/{scope}"));
    let signed: Vec<_> = names.split(';').collect();
    for name in ["host", "x-amz-date", "x-amz-content-sha256"] {
        assert!(signed.contains(&name), "{name} is not signed: {names}");
    }
    assert_eq!(header("x-amz-content-sha256")?, sha256(&knock.body));

    let mut canonical = format!("{}\n{}\n{}\n", knock.method, knock.path, knock.query);
    for name in &signed {
        let _ = writeln!(canonical, "{name}:{}", header(name)?.trim());
    }
    let _ = write!(canonical, "\n{names}\n{}", sha256(&knock.body));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(&canonical));
    let key = format!("AWS4{SECRET}").into_bytes();
    let key = [date, REGION, "aps", "aws4_request"]
        .into_iter()
        .fold(key, |key, text| hmac(&key, text));
    match hex(&hmac(&key, &to_sign)) == signature {
        true => Ok(()),
        false => Err(denied(
            "The request signature we calculated does not match the signature you provided.",
        )),
    }
}

/// `plan reviews` against a workspace behind the door.
async fn plan(shop: &Shop, door: &Door, more: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut flags = shop.brief();
    *flags.last_mut().unwrap() = format!("{}/workspaces/ws-1", door.url("127.0.0.1"));
    flags.extend(more.iter().map(|&flag| flag.to_owned()));
    let mut program = shop.program("plan reviews", &flags);
    // Nothing of the machine that the tests run on.
    for name in [
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_SESSION_TOKEN",
    ] {
        program.env_remove(name);
    }
    let nowhere = shop.folder().join("nowhere");
    program
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", &nowhere)
        .env("AWS_SHARED_CREDENTIALS_FILE", &nowhere)
        .envs(environment.iter().copied());
    let mut ran = Shop::ran(program).await;
    ran.stderr = format!("{}{}", ran.stdout, ran.stderr);
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_opens_with_the_credentials_of_the_environment() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_signature).await;
    let closed = plan(&shop, &door, &[], &[]).await;
    assert_eq!(closed.code, 4, "{}", closed.stderr);
    assert!(
        closed.stderr.contains("--prometheus-login aws"),
        "{}",
        closed.stderr
    );

    let environment = [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", SESSION),
        ("AWS_REGION", REGION),
    ];
    let flags = [
        "--prometheus-login",
        "aws",
        "--prometheus-param",
        "tenant=shop",
    ];
    let open = plan(&shop, &door, &flags, &environment).await;
    assert_eq!(open.code, 0, "{}", open.stderr);
    let knocks = door.knocks();
    let last = knocks.last().unwrap();
    assert_eq!(last.path, "/workspaces/ws-1/api/v1/query");
    assert_eq!(last.header("x-amz-security-token"), Some(SESSION));
    assert!(last.body.contains("tenant=shop"), "{}", last.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_opens_with_the_keys_and_the_profile_of_a_configuration() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_signature).await;
    let write = |name: &str, text: String| {
        let path = shop.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let keys = write(
        "keys.yaml",
        format!("sigv4: {{region: {REGION}, access_key: {KEY}, secret_key: {SECRET}}}"),
    );
    let open = plan(&shop, &door, &["--prometheus-config", &keys], &[]).await;
    assert_eq!(open.code, 0, "{}", open.stderr);

    let profile = format!("sigv4: {{region: {REGION}, profile: prod}}");
    let profile = write("profile.yaml", profile);
    let credentials = format!(
        "[default]\naws_access_key_id = OTHER\naws_secret_access_key = other\n\n\
         [prod]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    );
    let credentials = write("credentials", credentials);
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str()),
        // A profile that is asked for wins.
        ("AWS_ACCESS_KEY_ID", "OTHER"),
        ("AWS_SECRET_ACCESS_KEY", "other"),
    ];
    let flags = ["--prometheus-config", &profile];
    let open = plan(&shop, &door, &flags, &environment).await;
    assert_eq!(open.code, 0, "{}", open.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_cannot_be_made_or_does_not_fit_is_said_without_a_secret() {
    let shop = Shop::open().await;
    let door = Door::open(&shop, wants_signature).await;
    let wrong = [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", "not-the-secret-4711"),
        ("AWS_REGION", REGION),
    ];
    let region = [("AWS_REGION", REGION)];
    for (environment, code, expected) in [
        (&wrong[..], 4, "refuses the login of --prometheus-login: "),
        (&wrong[..2], 2, "AWS_REGION, or region below sigv4"),
        (&region[..], 4, "AWS_PROFILE, or AWS_ACCESS_KEY_ID"),
    ] {
        let flags = ["--prometheus-login", "aws"];
        let ran = plan(&shop, &door, &flags, environment).await;
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
        assert!(!ran.stderr.contains("not-the-secret"), "{}", ran.stderr);
    }
}
