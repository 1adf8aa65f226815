//! What tests plant, and look for afterwards.
//!
//! Deliberately absent: where it is planted (`channels`).

use crate::chance::Chance;

/// 16 bytes that no other run of any test has planted.
#[derive(Clone, Debug)]
pub(crate) struct Secret([u8; 16]);

impl Secret {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut bytes = [0; 16];
        // No byte of it is zero, and each pair differs: part of it is found as well.
        for byte in &mut bytes {
            *byte = u8::try_from(chance.below(255)).unwrap() + 1;
        }
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
