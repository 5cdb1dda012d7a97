"""A DICOM whole-slide series with all that viewers and derived objects ask for, and a label that names someone."""

import copy
from collections.abc import Sequence as Several
from pathlib import Path
from typing import Any

from make_slides import Pixels, cut, halved
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

ROOT = "1.2.826.0.1.3680043.10.1"
SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
PATIENT = "Doe^Jane"


def write_series(
    folder: Path,
    image: Pixels,
    *,
    levels: int = 2,
    tile: int = 64,
    mpp: float = 0.5,
    jpeg: bool = False,
    codec: str = "",
    study: int = 1,
) -> list[Path]:
    """Levels of a slide, each half as wide as the one before, then its label: finest first.

    codec: "jpeg" as jpeg=True, "jpeg2000", "jpeg-ls" (both lossless), or "" for none

    Source:
        DICOM PS3.3 A.32.8 (VL Whole Slide Microscopy Image), C.8.12 (its modules), C.7.6.22 (specimen).
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(levels + 1):
        label = number == levels
        pixels = cut(image, 0, 0, tile, tile) if label else halved(image, 2**number) if number else image
        data = _instance(pixels, number + 1, study=study, tile=tile, mpp=mpp * 2 ** (0 if label else number))
        kinds = ["VOLUME", "NONE"] if number == 0 else ["LABEL", "NONE"] if label else ["VOLUME", "RESAMPLED"]
        data.ImageType = ["ORIGINAL" if number == 0 or label else "DERIVED", "PRIMARY", *kinds]
        data.BurnedInAnnotation = "YES" if label else "NO"
        data.SpecimenLabelInImage = "YES" if label else "NO"
        _fill_pixels(data, pixels, tile, "jpeg" if jpeg else codec)
        paths.append(folder / f"{'label' if label else f'level-{number}'}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


def _fill_pixels(data: Dataset, pixels: Pixels, tile: int, codec: str) -> None:
    height, width = pixels.shape[:2]
    corners = [(x, y) for y in range(0, height, tile) for x in range(0, width, tile)]
    frames = [cut(pixels, x, y, tile, tile) for x, y in corners]
    if not codec:
        _put(data, [frame.tobytes() for frame in frames])
        return
    import imagecodecs

    if codec == "jpeg":
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.PhotometricInterpretation = "YBR_FULL_422"
        data.LossyImageCompressionMethod, data.LossyImageCompressionRatio = "ISO_10918_1", 10
        data.LossyImageCompression = "01"
        _put(data, [imagecodecs.jpeg8_encode(frame, level=90) for frame in frames])
    elif codec == "jpeg2000":
        data.file_meta.TransferSyntaxUID = JPEG2000Lossless
        data.PhotometricInterpretation = "YBR_RCT"
        _put(data, [imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, mct=True) for frame in frames])
    else:
        data.file_meta.TransferSyntaxUID = JPEGLSLossless
        _put(data, [imagecodecs.jpegls_encode(frame) for frame in frames])


def _frames(data: Dataset) -> list[bytes]:
    count = int(data.NumberOfFrames)
    if data.file_meta.TransferSyntaxUID.is_encapsulated:
        return list(generate_frames(data.PixelData, number_of_frames=count))
    size = len(data.PixelData) // count
    return [data.PixelData[size * number : size * (number + 1)] for number in range(count)]


def _put(data: Dataset, frames: list[bytes]) -> None:
    data.NumberOfFrames = len(frames)
    data.PixelData = encapsulate(frames) if data.file_meta.TransferSyntaxUID.is_encapsulated else b"".join(frames)
    data["PixelData"].VR = "OB"


def split_instance(path: Path) -> list[Path]:
    """The two instances of a concatenation, in place of one file.

    Source:
        DICOM PS3.3 C.7.6.16.1.1 (concatenations).
    """
    import pydicom

    data = pydicom.dcmread(path)
    frames, parts = _frames(data), []
    half = len(frames) // 2
    for number, first in enumerate((0, half), start=1):
        part = copy.deepcopy(data)
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = f"{data.SOPInstanceUID}.{number}"
        part.ConcatenationUID, part.SOPInstanceUIDOfConcatenationSource = f"{ROOT}.9", data.SOPInstanceUID
        part.InConcatenationNumber, part.InConcatenationTotalNumber = number, 2
        part.ConcatenationFrameOffsetNumber = first
        _put(part, frames[first:] if first else frames[:half])
        parts.append(path.with_name(f"{path.stem}-{number}.dcm"))
        part.save_as(parts[-1], enforce_file_format=True)
    path.unlink()
    return parts


def make_sparse(path: Path, numbers: Several[int], *, tile: int) -> None:
    """Keep these frames of a file, in this order, each with its place in the level (TILED_SPARSE)."""
    import pydicom

    data = pydicom.dcmread(path)
    across = -(-int(data.TotalPixelMatrixColumns) // tile)
    places = [
        _item(
            ColumnPositionInTotalImagePixelMatrix=number % across * tile + 1,
            RowPositionInTotalImagePixelMatrix=number // across * tile + 1,
            XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0, ZOffsetInSlideCoordinateSystem=0,
        )
        for number in numbers
    ]  # fmt: skip
    data.DimensionOrganizationType = "TILED_SPARSE"
    data.PerFrameFunctionalGroupsSequence = [_item(PlanePositionSlideSequence=[place]) for place in places]
    frames = _frames(data)
    _put(data, [frames[number] for number in numbers])
    data.save_as(path, enforce_file_format=True)


def _instance(pixels: Pixels, number: int, *, study: int, tile: int, mpp: float) -> Dataset:
    """All of an instance but its pixels."""
    height, width = pixels.shape[:2]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SLIDE_CLASS, f"{ROOT}.{study}.3.{number}"
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = SLIDE_CLASS, data.SOPInstanceUID
    values: dict[str, Any] = {
        "PatientName": PATIENT, "PatientID": "P001", "PatientBirthDate": "19610203", "PatientSex": "F",
        "StudyInstanceUID": f"{ROOT}.{study}.1", "SeriesInstanceUID": f"{ROOT}.{study}.2", "StudyID": "1",
        "AccessionNumber": "H26-123", "StudyDate": "20260102", "StudyTime": "101500", "ReferringPhysicianName": "",
        "ContentDate": "20260102", "ContentTime": "101500", "AcquisitionDateTime": "20260102101500",
        "SeriesNumber": 1, "InstanceNumber": number, "Modality": "SM", "Manufacturer": "Nobody",
        "ManufacturerModelName": "Phantom scanner", "DeviceSerialNumber": "1", "SoftwareVersions": "1",
        "FrameOfReferenceUID": f"{ROOT}.{study}.4", "PositionReferenceIndicator": "SLIDE_CORNER",
        "DimensionOrganizationType": "TILED_FULL", "ContainerIdentifier": "H26-123-A-1",
        "IssuerOfTheContainerIdentifierSequence": Sequence(), "VolumetricProperties": "VOLUME",
        "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Rows": tile,
        "Columns": tile, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
        "LossyImageCompression": "00", "FocusMethod": "AUTO", "ExtendedDepthOfField": "NO",
        "TotalPixelMatrixColumns": width, "TotalPixelMatrixRows": height, "TotalPixelMatrixFocalPlanes": 1,
        "ImagedVolumeWidth": width * mpp / 1000, "ImagedVolumeHeight": height * mpp / 1000, "ImagedVolumeDepth": 1.0,
        "ImageOrientationSlide": [0.0, -1.0, 0.0, -1.0, 0.0, 0.0], "NumberOfOpticalPaths": 1,
    }  # fmt: skip
    for name, value in values.items():
        setattr(data, name, value)
    data.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=f"{ROOT}.{study}.6")]
    data.ContainerTypeCodeSequence = [_code("433466003", "SCT", "Microscope slide")]
    data.TotalPixelMatrixOriginSequence = [
        _item(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0)
    ]
    data.AcquisitionContextSequence = Sequence()
    data.OpticalPathSequence = [
        _item(
            OpticalPathIdentifier="1",
            IlluminationTypeCodeSequence=[_code("111744", "DCM", "Brightfield illumination")],
            IlluminationColorCodeSequence=[_code("11744", "SCT", "Full spectrum")],
            ICCProfile=b"\0" * 128,
        )
    ]
    data.SpecimenDescriptionSequence = [
        _item(
            SpecimenIdentifier="H26-123-A-1", SpecimenUID=f"{ROOT}.{study}.5",
            IssuerOfTheSpecimenIdentifierSequence=Sequence(), SpecimenPreparationSequence=Sequence(),
        )
    ]  # fmt: skip
    spacing = _item(PixelSpacing=[mpp / 1000, mpp / 1000], SliceThickness=0.001)
    frame_type = _item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    path = _item(OpticalPathIdentifier="1")
    data.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[spacing], WholeSlideMicroscopyImageFrameTypeSequence=[frame_type],
            OpticalPathIdentificationSequence=[path],
        )
    ]  # fmt: skip
    return data


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
