//! The signals that ask the program to stop or to read its configuration again, and the one that must not end it.
//!
//! SIGINT and SIGTERM are sent by a person or a program that means this process. SIGHUP (the terminal was closed) and
//! SIGXCPU (`ulimit -t`) come with the surroundings, often twice: a shell and the kernel both send SIGHUP, systemd sends it
//! behind SIGTERM. They begin the stop in good order and never cut it short. For a server SIGHUP means that its
//! configuration has changed.

use std::future::pending;
use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What SIGHUP means to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// Stop: the terminal was closed. Nothing, if the parent process had ignored it (`nohup`).
    Stops,
    /// Read the configuration again.
    Reloads,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalRequest {
    /// The first one asks for a stop in good order, the second one for a stop at once.
    Stop,
    /// Read the configuration again. Only with [`HangUp::Reloads`].
    Reload,
}

/// The requests of the user, read off the signals of the system.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
    out_of_time: Option<Signal>,
    at_hang_up: HangUp,
    heard: Heard,
}

impl StopSignals {
    /// Installs the handlers. A SIGXCPU that the parent process had ignored stays ignored.
    pub fn new(at_hang_up: HangUp) -> io::Result<Self> {
        let hang_up = match at_hang_up {
            HangUp::Stops => unless_ignored(Number::HUP)?,
            HangUp::Reloads => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
            out_of_time: unless_ignored(Number::XCPU)?,
            at_hang_up,
            heard: Heard::default(),
        })
    }

    /// Waits for the next request.
    pub async fn next(&mut self) -> SignalRequest {
        loop {
            let origin = tokio::select! {
                biased;
                _ = self.interrupt.recv() => Origin::Sender,
                _ = self.terminate.recv() => Origin::Sender,
                () = received(&mut self.hang_up) => match self.at_hang_up {
                    HangUp::Stops => Origin::Surroundings,
                    HangUp::Reloads => return SignalRequest::Reload,
                },
                () = received(&mut self.out_of_time) => Origin::Surroundings,
            };
            if self.heard.is_request(origin) {
                return SignalRequest::Stop;
            }
        }
    }

    /// Waits for the next request to stop. Requests to reload are dropped.
    pub async fn stop(&mut self) {
        while self.next().await != SignalRequest::Stop {}
    }
}

/// The origin of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A person or a program that means this process: SIGINT, SIGTERM.
    Sender,
    /// The terminal or a limit: SIGHUP, SIGXCPU.
    Surroundings,
}

/// The signals received so far.
#[derive(Debug, Default)]
struct Heard {
    from_sender: bool,
    any: bool,
}

impl Heard {
    /// Whether this signal is a request of its own. The first signal is one, and so is every further one of a sender
    /// after its first.
    fn is_request(&mut self, origin: Origin) -> bool {
        let is_request = !self.any || (origin == Origin::Sender && self.from_sender);
        self.any = true;
        self.from_sender |= origin == Origin::Sender;
        is_request
    }
}

/// Waits for the signal; for ever if it is ignored.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => pending().await,
    }
}

/// A stream of this signal; `None` if the parent process had ignored it.
fn unless_ignored(number: Number) -> io::Result<Option<Signal>> {
    if is_ignored(number, &std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        return Ok(None);
    }
    signal(SignalKind::from_raw(number.as_raw())).map(Some)
}

/// Whether a signal is ignored, by the line `SigIgn` of `/proc/PID/status`: a hexadecimal mask with bit n - 1 for
/// signal n.
fn is_ignored(number: Number, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(number.as_raw() - 1).unwrap_or(0);
    mask.checked_shr(bit).unwrap_or(0) & 1 == 1
}

/// Keeps SIGXFSZ from ending the process: a write beyond `ulimit -f` then fails with EFBIG, which becomes a disk error
/// with a path. The handler stays until the process ends; programs that it starts have the default again.
pub fn survive_file_size_limit() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _context = runtime.enter();
    signal(SignalKind::from_raw(Number::XFSZ.as_raw())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeated_signal_of_a_sender_shortens_the_stop() {
        let table = [
            ("T", "y"),
            ("TT", "yy"),
            ("TTT", "yyy"),
            ("H", "y"),
            ("HH", "yn"),
            ("TH", "yn"),
            ("HT", "yn"),
            ("HTT", "yny"),
            ("HHTHT", "ynnny"),
        ];
        for (signals, want) in table {
            let mut heard = Heard::default();
            let origin = |signal| if signal == 'T' { Origin::Sender } else { Origin::Surroundings };
            let got: String =
                signals.chars().map(|signal| if heard.is_request(origin(signal)) { 'y' } else { 'n' }).collect();
            assert_eq!(got, want, "{signals}");
        }
    }

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = |mask: &str| format!("SigBlk:\t0000000000000000\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
        for (mask, hang_up, out_of_time) in [
            ("0000000000000000", false, false),
            ("0000000000000001", true, false),
            ("0000000000800001", true, true),
            ("0000000000001000", false, false),
            ("nonsense", false, false),
        ] {
            let status = status(mask);
            assert_eq!((is_ignored(Number::HUP, &status), is_ignored(Number::XCPU, &status)), (hang_up, out_of_time));
        }
        assert!(!is_ignored(Number::HUP, ""));
    }
}
