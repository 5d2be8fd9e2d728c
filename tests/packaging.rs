//! What is shipped keeps the rules of krew and of its index.
//!
//! The manifest is a template that the release fills in; here it is filled in with a made-up checksum.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// The systems that krew's validator knows.
const PLATFORMS: [(&str, &str); 11] = [
    ("windows", "386"),
    ("windows", "amd64"),
    ("windows", "arm64"),
    ("linux", "386"),
    ("linux", "amd64"),
    ("linux", "arm"),
    ("linux", "arm64"),
    ("linux", "ppc64le"),
    ("darwin", "386"),
    ("darwin", "amd64"),
    ("darwin", "arm64"),
];

const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fills in the two things that the release's template knows.
fn rendered() -> String {
    let mut text = String::new();
    for line in file("plugin.yaml").lines() {
        match line.split_once("{{addURIAndSha \"") {
            Some((indent, rest)) => {
                let (url, rest) = rest.split_once("\" .TagName | indent ").unwrap();
                let spaces: usize = rest.strip_suffix(" }}").unwrap().parse().unwrap();
                let url = url.replace("{{ .TagName }}", TAG);
                let sha = "0123456789abcdef".repeat(4);
                let pad = " ".repeat(spaces);
                text.push_str(&format!("{indent}uri: {url}\n{pad}sha256: {sha}\n"));
            }
            None => {
                text.push_str(&line.replace("{{ .TagName }}", TAG));
                text.push('\n');
            }
        }
    }
    assert!(!text.contains("{{"), "something was not filled in: {text}");
    text
}

fn manifest() -> Value {
    serde_saphyr::from_str(&rendered()).unwrap()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {pointer}"))
}

fn platforms(manifest: &Value) -> &Vec<Value> {
    manifest
        .pointer("/spec/platforms")
        .unwrap()
        .as_array()
        .unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn the_manifest_is_a_plugin_named_canary() {
    let manifest = manifest();
    assert_eq!(
        text(&manifest, "/apiVersion"),
        "krew.googlecontainertools.github.com/v1alpha2"
    );
    assert_eq!(text(&manifest, "/kind"), "Plugin");
    assert_eq!(text(&manifest, "/metadata/name"), "canary");
    assert_eq!(
        keys(&manifest),
        BTreeSet::from(["apiVersion", "kind", "metadata", "spec"])
    );
}

#[test]
fn the_version_is_the_packages_with_a_v() {
    let version = manifest();
    let version = text(&version, "/spec/version");
    assert_eq!(version, TAG);
    let core = version.strip_prefix('v').unwrap();
    let core = core.split(['-', '+']).next().unwrap();
    let numbers: Vec<_> = core.split('.').map(str::parse::<u32>).collect();
    assert_eq!(numbers.len(), 3);
    assert!(numbers.iter().all(Result::is_ok), "{version}");
}

#[test]
fn the_descriptions_fit_the_index() {
    let manifest = manifest();
    let short = text(&manifest, "/spec/shortDescription");
    assert!((1..=50).contains(&short.chars().count()), "{short}");
    assert!(!short.contains('\n') && !short.ends_with('.'), "{short}");
    for word in ["kubectl", "plugin", "kubernetes"] {
        assert!(
            !short.to_lowercase().contains(word),
            "{word} goes without saying"
        );
    }
    let long = text(&manifest, "/spec/description");
    assert!(
        long.lines().all(|line| line.chars().count() <= 80),
        "{long}"
    );
    assert!(
        !long.contains("--") && !long.contains("kubectl canary"),
        "{long}"
    );
    let caveats = text(&manifest, "/spec/caveats");
    assert!(caveats.contains("Istio") && caveats.contains("Prometheus"));
    assert!(caveats.contains("kubectl_complete-canary"));
    assert_eq!(
        text(&manifest, "/spec/homepage"),
        env!("CARGO_PKG_REPOSITORY")
    );
}

#[test]
fn every_platform_is_known_and_none_comes_twice() {
    let manifest = manifest();
    let mut seen = BTreeSet::new();
    for platform in platforms(&manifest) {
        assert_eq!(
            keys(platform),
            BTreeSet::from(["bin", "selector", "sha256", "uri"])
        );
        let selector = &platform["selector"];
        assert_eq!(keys(selector), BTreeSet::from(["matchLabels"]));
        let labels = &selector["matchLabels"];
        assert_eq!(keys(labels), BTreeSet::from(["arch", "os"]));
        let named = (text(labels, "/os"), text(labels, "/arch"));
        assert!(PLATFORMS.contains(&named), "{named:?}");
        assert!(seen.insert(named), "{named:?} comes twice");
        let bin = text(platform, "/bin");
        let expected = if named.0 == "windows" {
            "kubectl-canary.exe"
        } else {
            "kubectl-canary"
        };
        assert_eq!(bin, expected, "{named:?}");
        let sha = text(platform, "/sha256");
        assert!(
            sha.len() == 64
                && sha
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        );
    }
    for os in ["linux", "darwin"] {
        for arch in ["amd64", "arm64"] {
            assert!(seen.contains(&(os, arch)), "{os} {arch} is missing");
        }
    }
    assert!(seen.contains(&("windows", "amd64")));
}

#[test]
fn every_archive_is_one_that_the_release_builds() {
    let manifest = manifest();
    let release: Value = serde_saphyr::from_str(&file(".github/workflows/release.yml")).unwrap();
    let built = release
        .pointer("/jobs/build/strategy/matrix/include")
        .unwrap();
    let mut built: BTreeSet<_> = built
        .as_array()
        .unwrap()
        .iter()
        .map(|job| text(job, "/target"))
        .collect();
    let machine = BTreeMap::from([("amd64", "x86_64"), ("arm64", "aarch64")]);
    for platform in platforms(&manifest) {
        let (os, arch) = (
            text(platform, "/selector/matchLabels/os"),
            text(platform, "/selector/matchLabels/arch"),
        );
        let (suffix, ending) = match os {
            "linux" => ("unknown-linux-musl", "tar.gz"),
            "darwin" => ("apple-darwin", "tar.gz"),
            "windows" => ("pc-windows-msvc", "zip"),
            other => panic!("no archive is named for {other}"),
        };
        let target = format!("{}-{suffix}", machine[arch]);
        assert_eq!(
            text(platform, "/uri"),
            format!(
                "{}/releases/download/{TAG}/kubectl-canary-{TAG}-{target}.{ending}",
                env!("CARGO_PKG_REPOSITORY")
            )
        );
        assert!(built.remove(target.as_str()), "{target} is not built");
    }
    assert!(built.is_empty(), "built, but in no manifest: {built:?}");
}

/// A folder, and a script of ours run in it.
#[cfg(unix)]
fn script(folder: &Path, name: &str, words: &[&str]) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name);
    let mut command = std::process::Command::new(script);
    command.args(words).current_dir(folder).output().unwrap()
}

/// The man pages, made as the release makes them.
fn man_pages(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    clap_mangen::generate_to(kubectl_canary::cli::documented(), folder).unwrap();
}

#[test]
fn every_command_and_flag_has_its_man_page() {
    let folder = tempfile::tempdir().unwrap();
    man_pages(folder.path());
    let mut command = kubectl_canary::cli::documented();
    command.build();
    for sub in command.get_subcommands() {
        let page = format!("kubectl-canary-{}.1", sub.get_name());
        let text = std::fs::read_to_string(folder.path().join(&page)).unwrap();
        for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = arg.get_long() else { continue };
            let escaped = format!("\\-\\-{}", long.replace('-', "\\-"));
            assert!(text.contains(&escaped), "{page} lacks --{long}");
        }
    }
    assert!(folder.path().join("kubectl-canary.1").exists());
}

#[cfg(unix)]
#[test]
fn an_archive_holds_the_program_its_completer_its_pages_and_the_licence() {
    let licence = file("LICENSE");
    assert!(licence.contains("Apache License") && licence.contains("END OF TERMS AND CONDITIONS"));
    assert_eq!(env!("CARGO_PKG_LICENSE"), "Apache-2.0");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    man_pages(&folder.join("pages"));
    let target = "x86_64-unknown-linux-musl";
    let program = env!("CARGO_BIN_EXE_kubectl-canary");
    let made = script(folder, "package", &[program, "pages", target, TAG]);
    assert!(made.status.success(), "{made:?}");
    let archive = format!("kubectl-canary-{TAG}-{target}.tar.gz");
    let listed = std::process::Command::new("tar")
        .args(["-tvzf", &archive])
        .current_dir(folder)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut names = BTreeSet::new();
    for line in listed.lines() {
        // krew's own unpacking stops at anything else, links included.
        assert!(line.starts_with('-') || line.starts_with('d'), "{line}");
        let name = line.split_whitespace().last().unwrap();
        let is_program = ["kubectl-canary", "kubectl_complete-canary"].contains(&name);
        assert_eq!(line.starts_with("-rwxr-xr-x"), is_program, "{line}");
        names.insert(name);
    }
    for name in [
        "LICENSE",
        "kubectl-canary",
        "kubectl_complete-canary",
        "man/kubectl-canary.1",
        "man/kubectl-canary-start.1",
    ] {
        assert!(names.contains(name), "{name} is missing in\n{listed}");
    }
    let windows = file("scripts/package");
    assert!(windows.contains("7z a \"$OLDPWD/$name.zip\" LICENSE kubectl-canary.exe man"));
    let release = file(".github/workflows/release.yml");
    assert!(release.contains("scripts/package \"$program\" pages \"$TARGET\" \"$TAG\""));
    assert!(release.contains("sha256sum kubectl-canary-* > checksums.txt"));
}

/// The archive's completer finds the program on the PATH.
#[cfg(unix)]
#[test]
fn the_completer_in_the_archive_answers_kubectl() {
    let program = Path::new(env!("CARGO_BIN_EXE_kubectl-canary"));
    let completer = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kubectl_complete-canary");
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let answered = std::process::Command::new(completer)
        .args(["start", "reviews", "--on-drift", "re"])
        .env("PATH", path)
        .output()
        .unwrap();
    let answered = String::from_utf8(answered.stdout).unwrap();
    assert!(
        answered.starts_with("reassert\t") && answered.ends_with(":4\n"),
        "{answered}"
    );
}

#[cfg(unix)]
#[test]
fn the_formula_names_the_archives_with_their_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let targets = [
        "aarch64-apple-darwin",
        "x86_64-apple-darwin",
        "aarch64-unknown-linux-musl",
        "x86_64-unknown-linux-musl",
    ];
    let sums: Vec<_> = (0..4).map(|digit| digit.to_string().repeat(64)).collect();
    let line =
        |(sum, target): (&String, &&str)| format!("{sum}  kubectl-canary-{TAG}-{target}.tar.gz\n");
    let lines: String = sums.iter().zip(&targets).map(line).collect();
    std::fs::write(folder.join("checksums.txt"), &lines).unwrap();
    let made = script(folder, "formula", &[TAG, "checksums.txt"]);
    assert!(made.status.success(), "{made:?}");
    let formula = String::from_utf8(made.stdout).unwrap();
    for (sum, target) in sums.iter().zip(&targets) {
        let expected = format!(
            "      url \"{}/releases/download/{TAG}/kubectl-canary-{TAG}-{target}.tar.gz\"\n      sha256 \"{sum}\"\n",
            env!("CARGO_PKG_REPOSITORY")
        );
        assert!(formula.contains(&expected), "{target}:\n{formula}");
    }
    assert!(formula.contains(concat!("version \"", env!("CARGO_PKG_VERSION"), "\"")));
    let desc = formula
        .lines()
        .find_map(|line| line.trim().strip_prefix("desc "));
    let desc = desc.unwrap().trim_matches('"');
    // Homebrew's audit: short, no article, no full stop.
    assert!(
        desc.len() <= 80 && !desc.starts_with("A ") && !desc.ends_with('.'),
        "{desc}"
    );
    // One that is missing is no formula.
    let (_, fewer) = lines.split_once('\n').unwrap();
    std::fs::write(folder.join("checksums.txt"), fewer).unwrap();
    let refused = script(folder, "formula", &[TAG, "checksums.txt"]);
    assert!(
        !refused.status.success() && refused.stdout.is_empty(),
        "{refused:?}"
    );
}

#[test]
fn cargo_binstall_finds_the_archives_of_the_release() {
    let manifest = file("Cargo.toml");
    let url = |ending: &str| {
        format!(
            "pkg-url = \"{{ repo }}/releases/download/v{{ version }}/kubectl-canary-v{{ version }}-{{ target }}.{ending}\""
        )
    };
    let (tar, zip) = manifest
        .split_once("[package.metadata.binstall.overrides.x86_64-pc-windows-msvc]")
        .unwrap();
    let (_, tar) = tar.split_once("[package.metadata.binstall]").unwrap();
    assert!(
        tar.contains(&url("tar.gz")) && tar.contains("pkg-fmt = \"tgz\""),
        "{tar}"
    );
    assert!(tar.contains("bin-dir = \"{ bin }{ binary-ext }\""), "{tar}");
    assert!(
        zip.contains(&url("zip")) && zip.contains("pkg-fmt = \"zip\""),
        "{zip}"
    );
}

#[cfg(unix)]
#[test]
fn the_image_holds_what_the_job_of_detach_runs() {
    let dockerfile = file("Dockerfile");
    let steps: Vec<_> = dockerfile
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let of = |word: &str| -> Vec<&str> {
        let found = steps.iter().filter_map(|step| step.strip_prefix(word));
        found.map(str::trim).collect()
    };
    // Nothing runs in it while it is made, so no architecture has to be emulated.
    assert_eq!((of("FROM "), of("RUN ")), (vec!["scratch"], vec![]));
    assert_eq!(of("USER "), ["65532:65532"], "the Job's own runAsUser");
    let path = of("ENV PATH=").pop().unwrap();
    let program = format!("{path}/kubectl-canary");
    assert_eq!(of("ENTRYPOINT "), [format!("[\"{program}\"]")]);

    // Every source of COPY is in the context, for both platforms.
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    man_pages(&folder.join("pages"));
    for machine in ["x86_64", "aarch64"] {
        let target = format!("{machine}-unknown-linux-musl");
        let words = [env!("CARGO_BIN_EXE_kubectl-canary"), "pages", &target, TAG];
        assert!(script(folder, "package", &words).status.success());
    }
    std::fs::write(folder.join("roots.crt"), "roots").unwrap();
    let made = std::process::Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/image-context"),
    )
    .args([TAG, ".", "context"])
    .env("SSL_CERT_FILE", folder.join("roots.crt"))
    .current_dir(folder)
    .output()
    .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut targets = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        for copy in of("COPY ") {
            let (source, target) = copy.split_once(' ').unwrap();
            let source = source.replace("${TARGETPLATFORM}", platform);
            let source = folder.join("context").join(source);
            assert!(source.metadata().unwrap().len() > 0, "{}", source.display());
            targets.push(target.to_owned());
        }
    }
    assert!(targets.contains(&program), "{targets:?}");
    assert!(targets.contains(&"/etc/ssl/certs/ca-certificates.crt".to_owned()));

    let release: Value = serde_saphyr::from_str(&file(".github/workflows/release.yml")).unwrap();
    let repository = "${{ vars.IMAGE_REPOSITORY }}";
    let steps = |job: &str| {
        let steps = release["jobs"][job]["steps"].as_array().unwrap().clone();
        steps.into_iter().find(|step| {
            step["env"]
                .as_object()
                .is_some_and(|env| env.values().any(|value| value == repository))
        })
    };
    let build = steps("build").unwrap();
    assert!(text(&build, "/env/KUBECTL_CANARY_IMAGE_REPOSITORY") == repository);
    let image = steps("image").unwrap();
    let run = text(&image, "/run");
    assert!(run.contains("--platform linux/amd64,linux/arm64"), "{run}");
    // The tag that the program looks for: its version, without a v.
    assert!(run.contains("--tag \"$IMAGE:${TAG#v}\""), "{run}");
    // Copying a program does not need its libraries, if it has none.
    assert!(file(".github/workflows/release.yml").contains("unknown-linux-musl"));
}

#[test]
fn the_release_hands_this_template_to_the_index() {
    let release: Value = serde_saphyr::from_str(&file(".github/workflows/release.yml")).unwrap();
    let steps = release
        .pointer("/jobs/krew/steps")
        .unwrap()
        .as_array()
        .unwrap();
    let bot = steps
        .iter()
        .find(|step| {
            step["uses"]
                .as_str()
                .is_some_and(|uses| uses.contains("krew-release-bot@"))
        })
        .unwrap();
    assert_eq!(text(bot, "/with/krew_template_file"), "plugin.yaml");
}

#[test]
fn workflows_hold_no_more_rights_than_they_need() {
    let mut writers = Vec::new();
    for name in ["ci.yml", "nightly.yml", "release.yml"] {
        let source = file(&format!(".github/workflows/{name}"));
        assert!(!source.contains("pull_request_target"), "{name}");
        let workflow: Value = serde_saphyr::from_str(&source).unwrap();
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({"contents": "read"}),
            "{name}"
        );
        for (job, content) in workflow["jobs"].as_object().unwrap() {
            if content.get("permissions").is_some() {
                writers.push(format!("{name} {job}"));
            }
            for step in content["steps"].as_array().unwrap() {
                let Some(uses) = step["uses"].as_str() else {
                    continue;
                };
                let (action, version) = uses.split_once('@').unwrap();
                let fixed = version.len() == 40 || action == "rajatjindal/krew-release-bot";
                assert!(fixed, "{name}: {uses} can change under us");
            }
        }
    }
    assert_eq!(writers, ["release.yml publish"]);
    assert!(file(".github/workflows/ci.yml").contains(" .ci/run\n"));
}

#[test]
fn the_action_installs_this_version_from_archives_that_are_built() {
    let action: Value = serde_saphyr::from_str(&file("action.yml")).unwrap();
    assert_eq!(text(&action, "/inputs/version/default"), TAG);
    let page = file("docs/pipelines.md");
    assert!(page.contains(&format!("uses: kubectl-canary/kubectl-canary@{TAG}\n")));
    let install = text(&action, "/runs/steps/0/run");
    let targets = install.lines().filter_map(|line| {
        let (_, target) = line.split_once(") target=")?;
        Some(target.trim_end_matches(" ;;"))
    });
    let targets: Vec<_> = targets.collect();
    assert_eq!(targets.len(), 4, "{targets:?}");
    let release = file(".github/workflows/release.yml");
    for target in targets {
        let built = format!("target: {target}, ");
        assert!(release.contains(&built), "{target} is not built");
    }
    for step in action.pointer("/runs/steps").unwrap().as_array().unwrap() {
        let run = step["run"].as_str().unwrap();
        assert!(!run.contains("${{"), "a shell would read it as code: {run}");
    }
}

#[test]
fn the_changelog_knows_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(
        file("CHANGELOG.md")
            .lines()
            .any(|line| line.starts_with(&heading))
    );
}
