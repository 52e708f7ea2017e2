//! The integration tests, one module for each topic.

mod corpus;
mod demo;
