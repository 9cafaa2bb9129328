"""Titles and explanations of the metrics that any data have."""

from __future__ import annotations


def controls(metric: str, words: str) -> dict[str, tuple[str, str]]:
    """Titles of the controls that adherence is compared with."""
    return {
        f"{metric}.resampled": (f"Control: {words} of the next z", "what the caption alone gives"),
        f"{metric}.shuffled": (f"Control: {words} of another caption's z", "chance"),
    }


def _as_text(metric: str, what: str) -> dict[str, tuple[str, str]]:
    """Titles and meanings of the metrics of texts."""
    return {
        f"{metric}.distinct2": (
            f"{what}: different pairs",
            f"share of different 2-grams among a caption's {what}",
        ),
        **{
            f"{metric}.self_bleu{n}": (
                f"{what}: self-BLEU-{n}",
                f"likeness of a caption's {what} to each other; 1 is all alike",
            )
            for n in (4, 5)
        },
        f"{metric}.repeated4": (
            f"{what}: repetition",
            "share of 4-grams that stood in the same text before (rep-4)",
        ),
        f"{metric}.loops": (f"{what}: loops", "share that ends in a phrase said over and over"),
        f"{metric}.zipf": (
            f"{what}: Zipf coefficient",
            "slope of log frequency over log rank; about 1 in English",
        ),
    }


def _calibrated(factor: str, words: str) -> dict[str, tuple[str, str]]:
    """Titles of a factor's distance from the data, and of its floor."""
    metric = f"z.calibration.{factor}"
    return {
        metric: (f"z: {words}", "total variation from those of real z"),
        f"{metric}.floor": (f"Floor: {words}", "of equal z, by finite numbers"),
    }


TITLES = {
    "vendi": ("Vendi score", "effective number of different samples of a caption"),
    "vendi.infinity": (
        "Vendi score, order ∞",
        "1 over the share of the most common kind of sample",
    ),
    "mss": ("Similarity (MSS)", "mean cosine of two samples of a caption; less is more diverse"),
    "vendi.histogram": ("Vendi score, colours", "on colour histograms, without a network"),
    "mss.histogram": ("Similarity, colours", "on colour histograms, without a network"),
    "vendi.pixels": ("Vendi score, pixels", "on pictures of 8 by 8 pixels, without a network"),
    "mss.pixels": ("Similarity, pixels", "on pictures of 8 by 8 pixels, without a network"),
    "recall": ("Recall", "share of real pictures that the samples reach"),
    "precision": ("Precision", "share of samples that look real"),
    "coverage.real": ("Coverage", "share of real pictures that have a sample near them"),
    "density": ("Density", "how thick the real pictures lie around a sample; 1 is as in the data"),
    "mmd": ("Kernel distance (MMD²)", "unbiased, cubic kernel: KID's, on these features"),
    "cmmd": ("CMMD", "kernel distance of CLIP's kind, unbiased; less is better"),
    "clip": ("CLIP score", "100 times the cosine of picture and caption"),
    "frechet": ("Fréchet distance", "distance to real pictures; less is better"),
    "copies": (
        "Near training pictures",
        "share of samples nearer to one of those searched than 95 % of new real pictures are; "
        "0.05 is as new",
    ),
    "edges": ("Edge energy", "over that of real pictures: below 1 is soft, above 1 is noisy"),
    "explained": (
        "Variance that z explains",
        "1 − E[Var(x|z,c)] / E[Var(x|c)] of features; 0 for a z that is not heeded",
    ),
    "boxes": ("Boxes of z kept", "share of z's boxes found at IoU of 0.5 or more"),
    "boxes.of_ceiling": ("Boxes kept, of the ceiling", "over what the judge finds of real ones"),
    **controls("boxes", "boxes"),
    "boxes.iou": ("Boxes: IoU", "mean over the boxes found"),
    "boxes.missing": ("Boxes: missing", "a picture's mean number of z's boxes not found"),
    "boxes.extra": ("Boxes: extra", "a picture's mean number of objects that z does not have"),
    "blobs": ("Blobs of z kept", "share of z's ellipses found at IoU of 0.5 or more"),
    **controls("blobs", "blobs"),
    "blobs.iou": ("Blobs: IoU", "mean over the ellipses found"),
    "blobs.centre": ("Blobs: centre", "mean distance in thousandths of the side, of those found"),
    "blobs.angle": ("Blobs: angle", "mean error in degrees of long ones found; 45 is chance"),
    "blobs.missing": ("Blobs: missing", "a picture's mean number of z's blobs not found"),
    "blobs.extra": ("Blobs: extra", "a picture's mean number of objects that z does not have"),
    "colours": (
        "Colours of elements kept",
        "mean OKLab distance from an element's colour in z to the nearest one in its place",
    ),
    **controls("colours", "colours"),
    "tokens": ("Tokens of z kept", "share of equal ids when the picture is tokenised again"),
    "tokens.reconstructed": ("Tokens: ceiling", "the same of the tokenizer's own picture of z"),
    **controls("tokens", "tokens"),
    "palette": ("Palette kept", "mean OKLab distance of a pixel to z's nearest colour"),
    **controls("palette", "palette"),
    "palette.shares": ("Palette's weights kept", "total variation from the shares of pixels"),
    **controls("palette.shares", "weights"),
    "z.parses": ("z parses", "share of drawn z that follow the grammar"),
    "z.self.iou": ("z: boxes with blobs", "mean IoU of a box and its blob's rectangle"),
    "z.self.apart": ("z: boxes apart from blobs", "share with an IoU below 0.5"),
    "z.self.centre": ("z: centres apart", "of box and blob, in thousandths of the side"),
    "z.self.count": ("z: same objects twice", "share with as many boxes as blobs of each label"),
    "z.self.labels": ("z: labels described", "share of its labels that its description names"),
    "z.self.colours": ("z: colours described", "share of its words of colour in its palette"),
    **_as_text("z", "z"),
    **_as_text("z.description", "descriptions"),
    "z.perplexity": ("z: perplexity", "of a token of real z under the prior and its grammar"),
    "z.length": ("z: length", "tokens of a real z"),
    "z.writable": ("Real z within the grammar", "share that the prior could write"),
    **_calibrated("count", "numbers of objects"),
    **_calibrated("place", "places"),
    **_calibrated("size", "sizes"),
    **_calibrated("colour", "palette's colours"),
}
"""Metric -> its title and what it says."""
