//! Reads what our own client prints about a run, as a script would: `--json` and `--log-format json`
//! (`docs/FORMATS.md`). The output of other clients yields no result and no events.

use std::collections::BTreeMap;

use serde_json::Value;

/// The result and the log events of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientOutput {
    /// The last result on standard output, if there is one.
    pub result: Option<Value>,
    /// The events of the log, in order.
    pub log: Vec<Value>,
}

impl ClientOutput {
    /// Parses the lines of standard output and standard error.
    pub fn read(out: &[String], err: &[String]) -> Self {
        let object = |line: &String| serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
        let result = out.iter().rev().find_map(object).filter(|last| last["event"] == "result");
        Self { result, log: err.iter().filter_map(object).collect() }
    }

    /// Returns a number field of the result.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.result.as_ref()?[field].as_u64()
    }

    /// Returns the restarts by actor and cause, as the result counts them.
    pub fn restarts(&self) -> BTreeMap<(String, String), u64> {
        let rows = self.result.as_ref().and_then(|result| result["restarts"].as_array());
        let row = |row: &Value| {
            let key = (row["actor"].as_str()?.to_owned(), row["cause"].as_str()?.to_owned());
            Some((key, row["count"].as_u64()?))
        };
        rows.into_iter().flatten().filter_map(row).collect()
    }

    /// Returns the log events with this message.
    pub fn logged<'a>(&'a self, message: &'a str) -> impl Iterator<Item = &'a Value> {
        self.log.iter().filter(move |event| field(event, "message") == message)
    }
}

/// Returns a field of a log event. It may be inside `fields`, where tracing puts it, or at the top.
pub fn field<'a>(event: &'a Value, name: &str) -> &'a Value {
    let inner = &event["fields"][name];
    if inner.is_null() { &event[name] } else { inner }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_result_and_its_restarts_are_read() {
        let out = lines(
            "{\"event\":\"progress\"}\n{\"event\":\"result\",\"panics\":0,\"restarts\":[{\"actor\":\"PeerConnection\",\"cause\":\"reset\",\"count\":7}]}",
        );
        let err = lines("a line\n{\"message\":\"peer sent bad data (banned)\",\"addr\":\"127.0.0.1:1\"}");
        let output = ClientOutput::read(&out, &err);
        assert_eq!(output.number("panics"), Some(0));
        assert_eq!(output.restarts(), BTreeMap::from([(("PeerConnection".to_owned(), "reset".to_owned()), 7)]));
        let banned: Vec<_> = output.logged("peer sent bad data (banned)").map(|event| field(event, "addr")).collect();
        assert_eq!(banned, ["127.0.0.1:1"]);
    }

    #[test]
    fn the_output_of_another_client_yields_nothing() {
        let output =
            ClientOutput::read(&lines("[#1 SIZE:1MiB]\n{\"event\":\"result\"}\n(OK):download completed {}"), &[]);
        assert_eq!((output.number("panics"), output.restarts().len(), output.log.len()), (None, 0, 0));
        assert_eq!(ClientOutput::read(&lines("{\"event\":\"progress\"}"), &[]).result, None);
    }
}
