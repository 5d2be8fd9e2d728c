//! Options as the flags that say the same.

use serde_json::Value;

use super::Options;

impl Options {
    /// The flags that say the same, as a shell takes them: `--route 'http[0]' --canary v2`. Empty where
    /// nothing is said.
    pub fn flags(&self) -> String {
        // What an option is called in a plan file, and what a flag, differs by no more than the spelling.
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else {
            return String::new();
        };
        let flags = fields.into_iter().map(|(field, value)| {
            let flag = match field.as_str() {
                "routes" => "--route".to_owned(),
                "guards" => "--guard".to_owned(),
                field => format!("--{}", kebab(field)),
            };
            match value {
                Value::Bool(true) => flag,
                Value::Bool(false) => format!("{flag}=false"),
                Value::Array(list) => {
                    let list = list.iter().map(|item| format!("{flag} {}", word(item)));
                    list.collect::<Vec<_>>().join(" ")
                }
                value => format!("{flag} {}", word(&value)),
            }
        });
        flags.collect::<Vec<_>>().join(" ")
    }
}

/// `addDestination` as `add-destination`.
fn kebab(field: &str) -> String {
    let mut flag = String::with_capacity(field.len() + 2);
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            flag.push('-');
        }
        flag.push(letter.to_ascii_lowercase());
    }
    flag
}

/// A value as one word of a shell.
fn word(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    shell_word(&text)
}

/// A text as one word of a shell: in quotes where it would be more than itself without them.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:/@%+=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(words: &[&str]) -> Options {
        let words = ["start"].iter().chain(words);
        Command::try_parse_from(words).unwrap().options
    }

    /// The words of a line as a shell would split it, as far as single quotes go.
    fn split(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let (mut quoted, mut letters) = (false, line.chars());
        while let Some(letter) = letters.next() {
            match letter {
                '\'' => quoted = !quoted,
                '\\' if !quoted => words.last_mut().unwrap().extend(letters.next()),
                ' ' if !quoted => words.push(String::new()),
                letter => words.last_mut().unwrap().push(letter),
            }
        }
        words
    }

    #[test]
    fn every_option_is_said_again_by_its_flag() {
        let given = [
            "--stable=v1",
            "--canary=v2",
            "--route=http[0]",
            "--route=it's primary",
            "--also=storefront",
            "--also=edge/partners",
            "--add-destination",
            "--fine-weights",
            "--match=cookie:^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$",
            "--sticky=cookie=canary,30m",
            "--ignore-owner=false",
            "--steps=mirror:10%,0.5,10:5m,50:pause,100",
            "--dwell=90s",
            "--bake=1m",
            "--unanalyzed",
            "--interval=2s",
            "--analysis=threshold",
            "--preset=quicker",
            "--tolerance=0.25",
            "--ignore-latency",
            "--failures=5xx,0,429,grpc:13-14",
            "--ignore-client-errors",
            "--warmup=1m30s",
            "--max-error-rate=5%",
            "--margin=1",
            "--min-requests=20",
            "--prometheus=monitoring/prometheus:9090",
            "--query-scope=cluster=prod",
            "--operation-label=request_operation",
            "--query-timeout=20s",
            "--sample=pods",
            "--guard=queue: max(queue{pod=~\"{{canary.pods}}\"}) <= 100",
            "--guard={name: orders, bad: 'b{v=\"{{version.version}}\"}', total: 't{v=\"{{version.version}}\"}', onNoData: ignore}",
            "--step-timeout=20m",
            "--metrics-grace=3m",
            "--rollback-timeout=5m",
            "--on-inconclusive=hold",
            "--on-no-metrics=hold",
            "--on-drift=reassert",
            "--after-regression=zero",
            "--on-signal=hold",
        ];
        let options = parsed(&given);
        // A new option has to be added here as well.
        let said = serde_json::to_value(&options).unwrap();
        let flags = <Command as clap::CommandFactory>::command();
        let known = flags.get_arguments().filter(|flag| flag.get_id() != "help");
        assert_eq!(said.as_object().unwrap().len(), known.count());

        let line = options.flags();
        let words = split(&line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        assert_eq!(parsed(&words), options, "{line}");
    }

    #[test]
    fn what_a_shell_would_not_leave_alone_is_quoted() {
        assert_eq!(Options::default().flags(), "");
        let options = parsed(&["--route=http[0]", "--route=it's", "--canary=v2"]);
        assert_eq!(
            options.flags(),
            r"--canary v2 --route 'http[0]' --route 'it'\''s'"
        );
    }
}
