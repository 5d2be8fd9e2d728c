//! The version after a version.

/// What the version of `image` is called where stable, which runs `stable_image`, is called `stable`: the image's
/// tag where stable's name is its image's tag; the next number where it ends in one (`v1`, `v2`); else the tag.
/// `None` where the image has no tag to go by.
pub(super) fn next_version(stable: &str, stable_image: &str, image: &str) -> Option<String> {
    let wanted = tag(image);
    if tag(stable_image) == Some(stable) {
        return wanted.map(str::to_owned);
    }
    let digits = stable.len() - stable.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (name, number) = stable.split_at(stable.len() - digits);
    // Of 1.4.2 it is not known which number comes next.
    match number.parse::<u64>() {
        Ok(number) if !name.ends_with(['.', '_', '-']) => Some(format!("{name}{}", number + 1)),
        _ => wanted.map(str::to_owned),
    }
}

/// The tag of an image; a digest is none, and a colon before the last slash is a port.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next()?;
    let last = name.rsplit('/').next()?;
    last.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_is_counted_or_the_images_tag() {
        for (stable, stable_image, image, next) in [
            ("v1", "shop:1.4", "shop:1.5", Some("v2")),
            ("v9", "shop:1.4", "shop", Some("v10")),
            ("3", "shop:1.4", "shop:1.5", Some("4")),
            (
                "1.4",
                "host:5000/shop:1.4",
                "host:5000/shop:1.5",
                Some("1.5"),
            ),
            ("1.4.2", "shop:latest", "shop:1.5", Some("1.5")),
            ("blue", "shop:1.4", "shop:1.5", Some("1.5")),
            ("blue", "shop:1.4", "host:5000/shop", None),
            ("blue", "shop:1.4", "shop@sha256:77", None),
            ("v1", "shop:v1", "shop:v1.1@sha256:77", Some("v1.1")),
            ("v18446744073709551616", "shop", "shop:7", Some("7")),
        ] {
            assert_eq!(
                next_version(stable, stable_image, image).as_deref(),
                next,
                "{stable} of {stable_image}, {image}"
            );
        }
    }
}
