//! The `#[test]` of `tests/it`: hands a function to the harness of those tests (`tests/it/harness.rs`).
//!
//! `tests/it/main.rs` imports it with `#[macro_use]`, so that it stands in for the built-in attribute in every module. A
//! test is written as always, and none can be left out of a list. Knows the two names of the harness, `Test` and its
//! fields; knows nothing of how tests are run.

extern crate proc_macro;

use proc_macro::{TokenStream, TokenTree};

/// What the built-in harness knows and ours does not. `Lab::with` ignores a test at run time, with a reason.
const UNKNOWN: &[&str] = &["ignore", "should_panic"];

/// Registers a function without arguments and without a result as a test, under its module's path and its name.
#[proc_macro_attribute]
pub fn test(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    let registration = match name_of(item.clone()) {
        Ok(name) => format!(
            "::inventory::submit! {{ \
             crate::harness::Test {{ name: concat!(module_path!(), \"::{name}\"), run: {name} }} }}"
        ),
        Err(problem) => format!("::core::compile_error! {{ \"{problem}\" }}"),
    };
    let mut both = item;
    both.extend(registration.parse::<TokenStream>());
    both
}

/// The name behind `fn`.
fn name_of(item: TokenStream) -> Result<String, String> {
    let mut tokens = item.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(attribute) => {
                let first = attribute.stream().into_iter().next().map(|word| word.to_string());
                if let Some(unknown) = UNKNOWN.iter().find(|unknown| first.as_deref() == Some(**unknown)) {
                    return Err(format!("this harness has no #[{unknown}]"));
                }
            }
            TokenTree::Ident(word) if word.to_string() == "async" => {
                return Err("this harness has no async tests".to_owned());
            }
            TokenTree::Ident(word) if word.to_string() == "fn" => {
                return tokens.next().map(|name| name.to_string()).ok_or_else(|| "a test is a function".to_owned());
            }
            _ => {}
        }
    }
    Err("a test is a function".to_owned())
}
