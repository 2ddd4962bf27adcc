//! Symmetric keys that keep values secret at rest: AES-GCM with random nonces (NIST SP 800-38D).
//!
//! A sealed value is `nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes)`, as kube-apiserver's provider `aesgcm`
//! stores it. What the value belongs to (its storage key) is authenticated with it, so a value that was moved
//! elsewhere does not open.
//!
//! Random 96-bit nonces bound the use of a key: after 2^32 seals the chance that two share a nonce reaches
//! 2^-33 (SP 800-38D, 8.3), and then both plain texts leak. Rotate long before ([`SEALS_PER_KEY`]).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::rand;

use crate::PkiError;

/// How many values one key may seal before it must be replaced: the bound of NIST SP 800-38D for random nonces.
pub const SEALS_PER_KEY: u64 = 1 << 32;

/// See the module.
pub struct SealingKey(LessSafeKey);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}

/// Wrong key, wrong place, or changed bytes: AES-GCM does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value was changed or moved, or was sealed with another key of this name")]
pub struct NotAuthentic;

impl SealingKey {
    /// A key of 16, 24 or 32 bytes: AES-128, AES-192 or AES-256.
    ///
    /// # Errors
    /// For any other length.
    pub fn aes_gcm(key: &[u8]) -> Result<Self, PkiError> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            other => {
                return Err(PkiError::Malformed {
                    what: "sealing key".to_owned(),
                    detail: format!("it has {other} bytes; AES keys have 16, 24 or 32"),
                });
            }
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| PkiError::Malformed {
            what: "sealing key".to_owned(),
            detail: "the crypto provider refuses it".to_owned(),
        })?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Appends the sealed form of `plain` to `out`. `place` must be given again to open it.
    ///
    /// # Errors
    /// When the provider has no random numbers to give.
    pub fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), PkiError> {
        let failed = |what: &str| PkiError::Malformed {
            what: what.to_owned(),
            detail: "the crypto provider failed".to_owned(),
        };
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| failed("nonce"))?;
        out.reserve(NONCE_LEN + plain.len() + self.0.algorithm().tag_len());
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let (_, text) = out.split_at_mut(start);
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), text)
            .map_err(|_| failed("sealed value"))?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The plain text of what [`Self::seal`] made for the same place.
    ///
    /// # Errors
    /// [`NotAuthentic`]; nothing of the plain text is given then.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(NotAuthentic)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotAuthentic)?;
        let mut text = text.to_vec();
        let length = self
            .0
            .open_in_place(nonce, Aad::from(place), &mut text)
            .map_err(|_| NotAuthentic)?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_at_its_place_only() {
        for length in [16, 24, 32] {
            let key = SealingKey::aes_gcm(&vec![7; length]).unwrap();
            let mut sealed = Vec::new();
            key.seal(b"/a", b"plain", &mut sealed).unwrap();
            assert_eq!(key.open(b"/a", &sealed).unwrap(), b"plain");
            assert_eq!(key.open(b"/b", &sealed), Err(NotAuthentic));
            let other = SealingKey::aes_gcm(&vec![8; length]).unwrap();
            assert_eq!(other.open(b"/a", &sealed), Err(NotAuthentic));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = SealingKey::aes_gcm(&[1; 32]).unwrap();
        let mut sealed = Vec::new();
        key.seal(b"/a", b"plain", &mut sealed).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"/a", &changed), Err(NotAuthentic), "byte {at}");
            assert_eq!(
                key.open(b"/a", &sealed[..at]),
                Err(NotAuthentic),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn no_two_seals_are_alike() {
        let key = SealingKey::aes_gcm(&[1; 32]).unwrap();
        let seal = || {
            let mut sealed = Vec::new();
            key.seal(b"/a", b"plain", &mut sealed).unwrap();
            sealed
        };
        assert_ne!(seal(), seal());
    }

    /// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew, Viega), the usual vector of AES-256-GCM.
    #[test]
    fn the_form_is_that_of_the_standard() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let key = SealingKey::aes_gcm(&hex(
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        ))
        .unwrap();
        let sealed = hex(
            "cafebabefacedbaddecaf888522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        );
        let plain = key
            .open(&hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"), &sealed)
            .unwrap();
        assert_eq!(
            plain,
            hex(
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
            )
        );
    }

    #[test]
    fn keys_have_the_lengths_of_aes() {
        let error = SealingKey::aes_gcm(b"short").unwrap_err();
        assert!(error.to_string().contains("16, 24 or 32"), "{error}");
    }
}
