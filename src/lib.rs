//! Progressive delivery without a controller.
