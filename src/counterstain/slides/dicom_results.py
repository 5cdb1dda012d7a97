"""What a model found on a DICOM slide, as DICOM: heat map, regions and class, in the study of the slide."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterstain.errors import InputError
from counterstain.files import hash_json
from counterstain.slides.dicom import check_dicom, read_dicom_header
from counterstain.slides.geojson import regions
from counterstain.slides.heatmap import HeatMap, draw_heatmap
from counterstain.slides.tile_predictions import TilePredictions, colours
from counterstain.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ClassCode", "ReadBy", "class_maps", "class_regions", "class_report", "read_source", "uid_of"]

SCHEME = "99COUNTERSTAIN"  # private, as its first two digits say (PS3.16 8): names of classes have no code of their own
_IDS = uuid.UUID("0d7f6a52-5c1e-5b8c-9d55-4f0b7a2e6c31")
_FRAME_PX = 256
# What objects derived from a slide are built on. Type 2 elements may be missing from slides that were made anonymous.
_NEEDED = ("StudyInstanceUID", "FrameOfReferenceUID", "ImageOrientationSlide", "TotalPixelMatrixOriginSequence",
           "SpecimenDescriptionSequence", "ContainerIdentifier", "SharedFunctionalGroupsSequence")  # fmt: skip
_MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                 "StudyDate", "StudyTime")  # fmt: skip


@dataclass(frozen=True)
class ClassCode:
    """A class in a terminology: SNOMED CT's is SCT."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class ReadBy:
    """Who read the slide, and how: the algorithm that every object names.

    name, version: of the algorithm
    sha256: hash of the model's list of hashes, which stands for all of its files
    pooling: from tiles to the slide
    when: the slide was read
    codes: of classes that have one; the others get a private one
    """

    name: str
    version: str
    sha256: str
    pooling: str
    when: datetime
    codes: Mapping[str, ClassCode]


def read_source(path: Path) -> "Dataset":
    """The finest level of a DICOM slide without its pixels, a pydicom Dataset that objects can be derived from.

    Raises:
        InputError: If it is no DICOM slide, or lacks what derived objects must say.
    """
    import pydicom

    header = read_dicom_header(path)
    if header is None:
        raise InputError(
            f"{path} is not DICOM, so there is no study that results could go to; convert the slide first, with "
            "wsidicomizer for instance"
        )
    check_dicom(path, header)
    data = pydicom.dcmread(path, stop_before_pixels=True)
    missing = [name for name in _NEEDED if name not in data]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}, which results must repeat; export the slide again")
    for name in _MAY_BE_EMPTY:
        if name not in data:
            setattr(data, name, None)
    return data


def uid_of(*parts: object) -> str:
    """The same UID for the same content, so that what is sent twice is one instance on the server.

    Source:
        DICOM PS3.5 B.2 (UIDs made from UUIDs).
    """
    return f"2.25.{uuid.uuid5(_IDS, hash_json({'parts': [str(part) for part in parts]})).int}"


# ------------------------------------------------------------------------------------------------------- the heat map


def class_maps(source: "Dataset", table: TilePredictions, by: ReadBy, uid: str) -> "list[Dataset]":
    """The heat map as Parametric Maps: of the positive class, or of more than two classes one for each.

    Stored values are those of `heatmaps/NAME.ome.tif`: 0 where no tile was read, v >= 1 for (v - 1) / 254, which the
    Real World Value Mapping says.

    Args:
        source: of `read_source`.
        table: tiles and probabilities.
        by: who read it.
        uid: which those of the instances are made from.
    """
    heat = draw_heatmap(table)
    return [_class_map(source, heat, plane, by, uid_of(uid, plane)) for plane in range(len(heat.names))]


def _class_map(source: "Dataset", heat: HeatMap, plane: int, by: ReadBy, uid: str) -> "Dataset":
    import highdicom as hd
    from pydicom.sr.codedict import codes

    name = heat.names[plane].removeprefix("prob_")
    # 16 bits: the standard allows no fewer whole numbers (PS3.3 C.8.32.2), though highdicom does.
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="probability", lut_explanation=f"{name}; 0: no tile was read"[:64], unit=codes.UCUM.NoUnits,
        value_range=(1, 255), slope=1 / 254, intercept=-1 / 254, quantity_definition=codes.DCM.Probability,
    )  # fmt: skip
    dataset = hd.pm.ParametricMap(
        [source], heat.value[plane].astype(np.uint16), sop_instance_uid=uid, instance_number=plane + 1,
        series_number=9001,
        contains_recognizable_visual_features=False, real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=128.0, window_width=254.0)],
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=(heat.mpp[1] / 1000, heat.mpp[0] / 1000), slice_thickness=_thickness(source)
        ),
        plane_positions=[_corner(source, heat)], tile_pixel_array=True, tile_size=(_FRAME_PX, _FRAME_PX),
        content_label="HEATMAP", content_description=f"probability of {name}"[:64], **_equipment(source, by, "map"),
    )  # fmt: skip
    return _dated(dataset, by)


def _corner(source: "Dataset", heat: HeatMap) -> Any:
    """Where the map's first px lies on the slide. DICOM names the middle of a px (PS3.3 C.7.6.16.2.3, highdicom)."""
    import highdicom as hd

    middle = np.array([[heat.corner[k] + heat.step[k] / 2 for k in (0, 1)]])
    to_slide = hd.spatial.ImageToReferenceTransformer.for_image(source, for_total_pixel_matrix=True)
    return hd.PlanePositionSequence("SLIDE", image_position=to_slide(middle)[0].tolist(), pixel_matrix_position=(1, 1))


def _thickness(source: "Dataset") -> float:
    measures = source.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence") or [{}]
    return float(measures[0].get("SliceThickness") or 0.001)  # mm; the standard asks for one, sections have a few µm


# -------------------------------------------------------------------------------------------------------- the regions


def class_regions(source: "Dataset", table: TilePredictions, by: ReadBy, uid: str) -> "Dataset":
    """The regions of each class as Microscopy Bulk Simple Annotations: polygons in level-0 px (x, y).

    Polygons of this object have no holes: a region with holes is cut into pieces that have none and meet at the cut.

    Source:
        DICOM PS3.3 C.37 (Supplement 222).
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    groups = []
    class_colours = colours(table.classes)
    for number, (index, geometry) in enumerate(regions(table), start=1):
        name = table.classes[index]
        groups.append(
            hd.ann.AnnotationGroup(
                number=number, uid=uid_of(uid, name), label=name[:64], graphic_type="POLYGON",
                annotated_property_category=codes.SCT.Tissue, annotated_property_type=_code(name, by),
                graphic_data=[np.array(ring, np.float64) for ring in _plain_polygons(geometry)],
                algorithm_type="AUTOMATIC", algorithm_identification=_algorithm(by),
                display_color=hd.color.CIELabColor.from_rgb(*class_colours[index]),
            )
        )  # fmt: skip
    dataset = hd.ann.MicroscopyBulkSimpleAnnotations(
        [source], annotation_coordinate_type="2D", annotation_groups=groups, sop_instance_uid=uid, instance_number=1,
        series_number=9002, content_label="REGIONS", content_description="tiles of one class, merged",
        **_equipment(source, by, "regions"),
    )  # fmt: skip
    return _dated(dataset, by)


def _plain_polygons(geometry: Mapping[str, object]) -> Iterator[list[tuple[float, float]]]:
    """The corners of each polygon of a geometry, not closed; one with holes in pieces without."""
    import shapely.geometry

    shape = shapely.geometry.shape(geometry)
    for part in getattr(shape, "geoms", [shape]):
        for piece in _without_holes(part):
            yield list(piece.exterior.coords)[:-1]


def _without_holes(polygon: Any) -> Iterator[Any]:
    """Cut through the middle one of the holes, left and right of its middle, until none has a hole."""
    import shapely

    if not polygon.interiors:
        yield polygon
        return
    x0, y0, x1, y1 = polygon.bounds
    left, _, right, _ = sorted(ring.bounds for ring in polygon.interiors)[len(polygon.interiors) // 2]
    middle = (left + right) // 2  # whole px, as all corners are; a hole is a tile wide, so it lies within
    for half in (shapely.box(x0, y0, middle, y1), shapely.box(middle, y0, x1, y1)):
        side = shapely.intersection(polygon, half)
        for part in getattr(side, "geoms", [side]):
            if part.geom_type == "Polygon":  # two pieces may also touch in a point or a line
                yield from _without_holes(part)


# --------------------------------------------------------------------------------------------------------- the report


def class_report(
    source: "Dataset", classes: Sequence[str], prob: Sequence[float], called: int, by: ReadBy, uid: str
) -> "Dataset":
    """The slide's class and the probability of every class as a Structured Report by template TID 1500.

    Args:
        source: of `read_source`.
        classes: C names.
        prob: (C,) of the slide.
        called: index of its class.
        by: who read it.
        uid: of the instance.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    algorithm = hd.sr.AlgorithmIdentification(by.name, by.version, parameters=_parameters(by))
    image = hd.sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)

    def group(name: str, **content: Any) -> Any:
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=uid_of(uid, name), identifier=name),
            algorithm_id=algorithm, source_images=[image], **content,
        )  # fmt: skip

    verdict = hd.sr.QualitativeEvaluation(codes.SCT.Classification, _code(classes[called], by))
    groups = [group("class of the slide", qualitative_evaluations=[verdict])]
    for name, value in zip(classes, prob, strict=True):
        measured = hd.sr.Measurement(codes.DCM.Probability, float(value), codes.UCUM.NoUnits)
        groups.append(group(f"probability of {name}", finding_type=_code(name, by), measurements=[measured]))
    report = hd.sr.MeasurementReport(
        observation_context=_context(source, by), procedure_reported=codes.SCT.LightMicroscopy,
        imaging_measurements=groups, title=codes.DCM.ImagingMeasurementReport,
    )  # fmt: skip
    equipment = {name: value for name, value in _equipment(source, by, "report").items() if name != "software_versions"}
    dataset = hd.sr.ComprehensiveSR(
        [source], report[0], sop_instance_uid=uid, instance_number=1, series_number=9003, is_complete=True,
        is_verified=False, **equipment,
    )  # fmt: skip
    return _dated(dataset, by)


def _context(source: "Dataset", by: ReadBy) -> Any:
    """The observer, which is a program, and the subject, which is a specimen."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of(by.name, by.version), name=by.name, manufacturer_name="Counterstain", model_name=by.name
    )
    specimen = source.SpecimenDescriptionSequence[0]
    subject = hd.sr.SubjectContextSpecimen(
        uid=specimen.SpecimenUID,
        identifier=specimen.SpecimenIdentifier,
        container_identifier=source.ContainerIdentifier,
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(codes.DCM.Device, device),
        subject_context=hd.sr.SubjectContext(codes.DCM.Specimen, subject),
    )


# ------------------------------------------------------------------------------------------------- what all three say


def _code(name: str, by: ReadBy) -> Any:
    import highdicom as hd

    code = by.codes.get(name, ClassCode(name, SCHEME, name))
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _parameters(by: ReadBy) -> list[str]:
    return [f"model sha256 {by.sha256}", f"pooling {by.pooling}", f"counterstain {__version__}"]


def _algorithm(by: ReadBy) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=by.name, version=by.version, family=codes.DCM.ArtificialIntelligence, source="Counterstain",
        parameters={"model sha256": by.sha256},
    )  # fmt: skip


def _equipment(source: "Dataset", by: ReadBy, kind: str) -> dict[str, Any]:
    """The device's elements, and the series: one for each kind of object, of each slide and model."""
    return {
        "series_instance_uid": uid_of(source.SeriesInstanceUID, by.sha256, kind),
        "manufacturer": "Counterstain",
        "manufacturer_model_name": by.name[:64],
        "software_versions": __version__,
        "device_serial_number": by.sha256[:16],
        "specific_character_set": "ISO_IR 192",  # UTF-8: a class may be called otherwise than a patient
    }


def _dated(dataset: "Dataset", by: ReadBy) -> "Dataset":
    """When the slide was read, not when the file was written: the same results make the same bytes."""
    day, time = f"{by.when:%Y%m%d}", f"{by.when:%H%M%S}"
    for name, value in (("ContentDate", day), ("ContentTime", time), ("InstanceCreationDate", day),
                        ("InstanceCreationTime", time), ("SeriesDate", day), ("SeriesTime", time)):  # fmt: skip
        if name in dataset:
            setattr(dataset, name, value)
    for equipment in dataset.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = day + time
    # highdicom draws this one at random; it links the sequences of one file.
    organised = [*dataset.get("DimensionOrganizationSequence", ()), *dataset.get("DimensionIndexSequence", ())]
    for item in organised:
        item.DimensionOrganizationUID = uid_of(dataset.SOPInstanceUID, "dimensions")
    dataset.SeriesDescription = f"{by.name}: {dataset.get('ContentLabel', 'REPORT').lower()}"[:64]
    return dataset
