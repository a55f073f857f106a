"""The plain way to composite a face, as a baseline: every step in float32 on the whole frame, files between the steps.

The steps are those of the first published face-swap converters: hull of the landmarks on the frame, Lanczos warps of
mask and face over the whole frame, the mask eroded and blurred there, ``cv2.seamlessClone`` for the seamless mode.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from recaster.geometry.landmarks import hull_mask
from recaster.media.pictures import read_picture, write_picture
from recaster.media.reader import FrameReader
from recaster.media.writer import FrameWriter
from recaster.merge.composite import Paste
from recaster.merge.mask import blur_size, erosion_size
from recaster.merge.settings import MergeSettings, OutputOptions

LANCZOS = cv2.INTER_LANCZOS4


def naive_composite(image: np.ndarray, paste: Paste, settings: MergeSettings) -> np.ndarray:
    """``image`` (H, W, 3) uint8 with one face, at the framing "full"."""
    frame = image.astype(np.float32) / 255
    height, width = frame.shape[:2]
    matrix, size = paste.alignment.frame_to_crop, paste.alignment.size
    hull = hull_mask(paste.points, (height, width))
    target = np.clip(cv2.warpAffine(frame, matrix, (size, size), flags=LANCZOS), 0, 1)
    crop_mask = np.clip(cv2.warpAffine(hull, matrix, (size, size), flags=LANCZOS), 0, 1)
    back = LANCZOS | cv2.WARP_INVERSE_MAP
    mask = np.clip(cv2.warpAffine(crop_mask, matrix, (width, height), flags=back), 0, 1)
    mask[mask <= 0.1] = 0
    hard = (mask > 0.1).astype(np.uint8) * 255
    face_size, centre = _measure(mask)
    mask = _shape(mask, face_size, 30 + settings.erode, settings.blur)
    face = _transfer(paste.rgb, target, crop_mask) if settings.color_transfer == "rct" else paste.rgb
    pasted = frame.copy()
    cv2.warpAffine(face, matrix, (width, height), pasted, back, cv2.BORDER_TRANSPARENT)
    pasted = np.clip(pasted, 0, 1)
    if settings.mode == "seamless":
        layers = [(layer * 255).astype(np.uint8) for layer in (pasted, frame)]
        pasted = cv2.seamlessClone(*layers, hard, centre, cv2.NORMAL_CLONE).astype(np.float32) / 255
    result = frame * (1 - mask[..., None]) + pasted * mask[..., None]
    return (np.clip(result, 0, 1) * 255).astype(np.uint8)


def _measure(mask: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Face size and centre, averaged over nine thresholds."""
    boxes = []
    for threshold in np.arange(0.1, 1.0, 0.1):
        rows, columns = np.where(mask > threshold)
        if len(rows):
            boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    left, top, right, bottom = np.mean(boxes, axis=0)
    return min(right - left, bottom - top), (int((left + right) / 2), int((top + bottom) / 2))


def _shape(mask: np.ndarray, face_size: float, erode: float, blur: float) -> np.ndarray:
    eroded = int(erosion_size(face_size, erode))
    if eroded > 0:
        mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (eroded, eroded)))
    blurred = int(blur_size(face_size, blur))
    return np.clip(cv2.blur(mask, (blurred, blurred)), 0, 1) if blurred else mask


def _transfer(face: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Reinhard on 8-bit Lab, statistics over the masked pictures."""
    labs = [cv2.cvtColor((np.clip(part, 0, 1) * 255).astype(np.uint8), cv2.COLOR_RGB2LAB) for part in (face, target)]
    own, wanted = (lab.astype(np.float32) for lab in labs)
    inside = mask > 0.5
    for channel in range(3):
        a, b = own[..., channel], wanted[..., channel]
        a -= a[inside].mean()
        a *= b[inside].std() / max(a[inside].std(), 1e-6)
        a += b[inside].mean()
    lab = np.clip(own, 0, 255).astype(np.uint8)
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.float32) / 255


def naive_file_to_file(
    clip: Path, pastes: list[Paste], settings: MergeSettings, output: Path, options: OutputOptions
) -> None:
    """Frames to PNGs, a merged PNG from each, a video from those; PNGs lie in folders beside ``output``."""
    with FrameReader(clip) as reader:
        info, names = reader.info, []
        for frame in reader:
            write_picture(output.parent / "in" / f"{frame.name}.png", frame.image)
            names.append(frame.name)
    for name, paste in zip(names, pastes, strict=True):
        image = read_picture(output.parent / "in" / f"{name}.png")
        write_picture(output.parent / "out" / f"{name}.png", naive_composite(image, paste, settings))
    with FrameWriter(
        output,
        width=info.width,
        height=info.height,
        rate=info.rate,
        color=info.color,
        crf=options.crf,
        preset=options.preset,
    ) as writer:
        for name in names:
            writer.write(read_picture(output.parent / "out" / f"{name}.png"))
