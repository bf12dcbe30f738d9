//! Fakes, conformance suites, fault injection, sample apps.
