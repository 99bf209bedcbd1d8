//! stub
mod chance;
