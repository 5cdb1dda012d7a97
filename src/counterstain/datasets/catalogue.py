"""The public cohorts, one row each: addresses, checksums, licence, patient rule, known defects, and an alarm level.

A checksum is one that the publisher, or a library that downloads the same file, states; where none is known the field
is empty, and the SHA-256 that was seen when the file was fetched stands in its place from then on.
"""

from dataclasses import dataclass

from counterstain.errors import InputError, suggest
from counterstain.records import short_repr

__all__ = ["COHORTS", "PublicCohort", "RemoteFile", "public_cohort"]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a public cohort.

    name: as it lies on disk
    url: its address; "" where it has to be fetched by hand (a form, an account)
    checksum: "md5:…" or "sha256:…" as published; "" where none is known
    size: bytes, None where not published
    """

    name: str
    url: str
    checksum: str = ""
    size: int | None = None


@dataclass(frozen=True)
class PublicCohort:
    """What to know of a public cohort before its images are believed.

    name: as it is typed; title: with the number and the size of its images
    page: where it is published, and where forms are; paper: its DOI or arXiv number
    licence: in short; "not stated" where the publisher says none
    patients: how images are grouped by patient, or that they cannot be
    split: the published division, "" where there is none
    defects: what is known to be wrong with it, each with its source
    alarm: a result above which something is likely to have leaked, for a small network from scratch; "" unknown
    read_as: options of `counterstain cohort` that read it
    """

    name: str
    title: str
    page: str
    paper: str
    licence: str
    patients: str
    files: tuple[RemoteFile, ...]
    split: str = ""
    defects: tuple[str, ...] = ()
    alarm: str = ""
    read_as: str = ""

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def by_hand(self) -> bool:
        """Whether a file has to be fetched by hand: a form has to be filled in, or an account is needed."""
        return any(not file.url for file in self.files)

    @property
    def size(self) -> int | None:
        """Bytes of all files, None where one is not known."""
        sizes = [file.size for file in self.files]
        return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)


_PCAM = "https://zenodo.org/records/2546921/files/camelyonpatch_level_2_split_{}.h5.gz"
_PCAM_MD5 = {  # of the archives
    "train_x": "1571f514728f59376b705fc836ff4b63",
    "train_y": "35c2d7259d906cfc8143347bb8e05be7",
    "valid_x": "d5b63470df7cfa627aeec8b9dc0c066e",
    "valid_y": "2b85f58b927af9964a4c15b8f7e8f179",
    "test_x": "d8c2d60d490dbd479f8199bdfa0cf6ec",
    "test_y": "60a7035772fbdb7f34eb86d4420cf66a",
}
_CRC = "https://zenodo.org/records/1214456/files/"
_DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile/"
_ZT = (
    ("ZT76_39_A", 3201623, "054be24c8522bdacef2916a48e2463da238e39efbb96c4aae6e2f802168cc14f"),
    ("ZT76_39_B", 3201625, "9d18c74ea72e6936a7ec6481373191b0c3da4f1a915280439b25efa7bcb645dc"),
    ("ZT80_38_A", 3201626, "3ae19e2a3b00c4158171487da7cab10f05cbaddbb256a41ad6be73f4be091972"),
    ("ZT80_38_B", 3201627, "406211b0822d165555346ae459db6ddb1daa32c9257f1578aeb7c2da03f3c910"),
    ("ZT80_38_C", 3201628, "16bda74826ac8c907c85460b72f713f4f63d765167c18b2729743eed7e806048"),
    ("ZT111_4_A", 3201629, "4e87448fe2db959a757c792069df5d49aaf08f305484a829832cb2d44e60fba0"),
    ("ZT111_4_B", 3201630, "6e898136490c5fc4d46bb66541519a4bdfe77bcb7fcc7d2f39440195e8fe01ce"),
    ("ZT111_4_C", 3201631, "85eeeeefd89f55d4aa12ce498f573c55f2ed83bf957b73a736a446cdb7540b45"),
    ("ZT199_1_A", 3201632, "2e1f4cc38097d36be6d33c76688ec85df87c7f53812b205e34c1d5c47a720b45"),
    ("ZT199_1_B", 3201633, "fa2d79e4891c5043f4dbb3db92e8d75de8d2f7c9afdf51d48c80dfb4f1d0b507"),
    ("ZT204_6_A", 3201634, "ad02fe27bbdae2d2af0bf4e9725d8dabe1c15bdb49125e9e0131705401cdb610"),
    ("ZT204_6_B", 3201635, "b89d3b8422cb1c2a9f3034d4f146ba0d3ce82260ab512c5ea5fc983506205c14"),
    ("Gleason_masks_train", 3201636, "f4a3ce4a599b210d60cddc6ad3cd8d28d58546fbdb82ee59ba52fc66e90698a6"),
    ("Gleason_masks_test_pathologist1", 3201654, "265c31f163072c7cdab9bcd850748b9196e79ac68497449dad542a3095f388ff"),
    ("Gleason_masks_test_pathologist2", 3201655, "2c996b8479aad8ff442ec0e23c80fec4aa9cc39961751252145058266e1267a2"),
)
_CRC_DEFECTS = (
    "classes differ in JPEG artefacts, some tiles have a wrong dynamic range, colours are normalised badly; a colour "
    "histogram alone reaches 82 % (Ignatov & Malivenko 2024, arXiv:2409.11546)",
    "no patient is named: 86 and 50 patients, but not which tile is whose",
)

COHORTS = (
    PublicCohort(
        "breakhis",
        "BreakHis: 7,909 images of 82 patients, breast tumours at 40 to 400×, 700 × 460 px",
        "https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/",
        "doi:10.1109/TBME.2015.2496264",
        "CC BY 4.0",
        "in the file names: SOB_M_DC-14-2523-40-001.png is of patient 14-2523",
        (RemoteFile("BreaKHis_v1.tar.gz", "http://www.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz"),),
        defects=(
            "each field was photographed at four magnifications: an image-level split has the same tissue on both "
            "sides; 98 to 99 % is claimed so, 91 to 93 % by patient",
            "ids such as 13412 occur in two classes, and 18842 beside 18842D",
            "its address is plain http, and no checksum is published",
        ),
        alarm="accuracy above 0.93 in folds by patient",
        read_as="--layout breakhis",
    ),
    PublicCohort(
        "pcam",
        "PatchCamelyon: 327,680 tiles of lymph nodes, 96 px",
        "https://github.com/basveeling/pcam",
        "arXiv:1806.03962",
        "CC0",
        "none is named, nor are slides in these files; the published split divides by slide",
        tuple(
            RemoteFile(f"camelyonpatch_level_2_split_{part}.h5.gz", _PCAM.format(part), f"md5:{md5}")
            for part, md5 in _PCAM_MD5.items()
        ),
        split="train, valid and test by slide",
        defects=("tiles were drawn by chance, so that some stand there twice within a part",),
        alarm="accuracy above 0.90 on the published test part",
        read_as="--layout pcam",
    ),
    PublicCohort(
        "nct-crc",
        "NCT-CRC-HE-100K and CRC-VAL-HE-7K: 107,180 tiles of colorectal tissue, nine classes, 224 px",
        "https://zenodo.org/records/1214456",
        "doi:10.1371/journal.pmed.1002730",
        "CC BY 4.0",
        "none is named; the two sets are of different patients",
        (
            RemoteFile("NCT-CRC-HE-100K.zip", _CRC + "NCT-CRC-HE-100K.zip", "md5:035777cf327776a71a05c95da6d6325f"),
            RemoteFile("CRC-VAL-HE-7K.zip", _CRC + "CRC-VAL-HE-7K.zip", "md5:2fd1651b4f94ebd818ebf90ad2b6ce06"),
        ),
        split="100K trains, 7K tests",
        defects=_CRC_DEFECTS,
        alarm="accuracy above 0.965 on the 7K; the floor is the 0.82 of a colour histogram",
        read_as="--layout folder",
    ),
    PublicCohort(
        "kather-2016",
        "Kather 2016: 5,000 tiles of colorectal tissue, eight classes, 150 px",
        "https://zenodo.org/records/53169",
        "doi:10.1038/srep27988",
        "CC BY 4.0",
        "none is named; tiles of ten slides",
        (
            RemoteFile(
                "Kather_texture_2016_image_tiles_5000.zip",
                "https://zenodo.org/record/53169/files/Kather_texture_2016_image_tiles_5000.zip",
                "sha256:936d0b95ae0f04f1f7b18a2b7e8c55776c3e887d102f645bcee752d1a6626a32",
                258_098_431,
            ),
        ),
        defects=("no patient is named, so that any split of it is by image",),
        alarm="accuracy above 0.95; texture features and an SVM reach 0.874",
        read_as="--layout kather",
    ),
    PublicCohort(
        "lc25000",
        "LC25000: 25,000 images of lung and colon, five classes, 768 px",
        "https://github.com/tampapath/lung_colon_image_set",
        "arXiv:1912.12142",
        "free for any use in the authors' words; no licence is named",
        "none is named. The true groups (which images are turned copies of one) are counted in LC25000-clean "
        "(https://github.com/GeorgeBatch/LC25000-clean): 249, 257, 243, 249 and 248 clusters in the five classes. Give "
        "them as patient_id",
        (RemoteFile("LC25000.zip", ""),),
        defects=(
            "1,250 photographs were turned and flipped into 25,000 before they were published: in an 80/20 split 98 % "
            "of the photographs stand on both sides. By true groups 0.998 falls to 0.917 for lung (Batchkala, Li & "
            "Rittscher 2024)",
        ),
        alarm="accuracy above 0.97 for lung, by true groups",
        read_as="--layout folder",
    ),
    PublicCohort(
        "pathmnist",
        "PathMNIST: NCT-CRC-HE-100K and CRC-VAL-HE-7K at 28 px",
        "https://medmnist.com",
        "doi:10.1038/s41597-022-01721-8",
        "CC BY 4.0",
        "none is named; its test part is of other patients than the rest",
        (
            RemoteFile(
                "pathmnist.npz",
                "https://zenodo.org/record/6496656/files/pathmnist.npz?download=1",
                "md5:a8b06965200029087d5bd730944a56c1",
            ),
        ),
        split="train, val and test",
        defects=(*_CRC_DEFECTS, "its val part shares patients with its train part"),
        alarm="accuracy above 0.965 on the test part",
        read_as="--layout medmnist",
    ),
    PublicCohort(
        "breastmnist",
        "BreastMNIST: 780 images of the breast at 28 px: ULTRASOUND, not histology",
        "https://medmnist.com",
        "doi:10.1038/s41597-022-01721-8",
        "CC BY 4.0",
        "none is named",
        (
            RemoteFile(
                "breastmnist.npz",
                "https://zenodo.org/record/6496656/files/breastmnist.npz?download=1",
                "md5:750601b1f35ba3300ea97c75c52ff8f6",
            ),
        ),
        split="train, val and test, by image",
        defects=("no histology: it is listed because it is often taken for it",),
        read_as="--layout medmnist",
    ),
    PublicCohort(
        "idc",
        "IDC: 277,524 tiles of 162 patients, invasive ductal carcinoma of the breast, 50 px",
        "https://www.kaggle.com/datasets/paultimothymooney/breast-histopathology-images",
        "doi:10.1117/12.2043872",
        "not stated",
        "the first part of the file names: 10253_idx5_x1001_y1001_class0.png is of patient 10253",
        (
            RemoteFile(
                "IDC_regular_ps50_idx5.zip", "http://gleason.case.edu/webdata/jpi-dl-tutorial/IDC_regular_ps50_idx5.zip"
            ),
        ),
        defects=(
            "labels were drawn on the slide at low power: tiles at a border are of both classes",
            "its address is plain http, and no checksum is published",
        ),
        alarm="balanced accuracy above 0.88 by patient",
        read_as="--layout idc",
    ),
    PublicCohort(
        "bach",
        "BACH: 400 images of the breast, four classes, 2048 × 1536 px; and slides",
        "https://zenodo.org/records/3632035",
        "doi:10.1016/j.media.2019.05.010",
        "CC BY-NC-ND 4.0",
        "not published for all images; published patient-safe divisions hold ranges of numbers together",
        (
            RemoteFile(
                "ICIAR2018_BACH_Challenge.zip",
                "https://zenodo.org/records/3632035/files/ICIAR2018_BACH_Challenge.zip",
                "md5:8ae1801334aa943c44627c1eef3631b2",
            ),
        ),
        defects=("400 images of few patients: an image-level split is prone to leak",),
        read_as="--layout folder",
    ),
    PublicCohort(
        "mhist",
        "MHIST: 3,152 tiles of colorectal polyps, 224 px",
        "https://bmirds.github.io/MHIST/",
        "arXiv:2101.12355",
        "by a form on its page: research use",
        "none is named",
        (RemoteFile("images.zip", ""), RemoteFile("annotations.csv", "")),
        split="train and test, by image",
        defects=("the seven readers disagree: annotations.csv has how many said what",),
        alarm="balanced accuracy above 0.80",
    ),
    PublicCohort(
        "camelyon17-wilds",
        "Camelyon17-WILDS: 455,954 tiles of lymph nodes from five hospitals, 96 px",
        "https://wilds.stanford.edu/datasets/#camelyon17",
        "arXiv:2012.07421",
        "CC0",
        "columns patient, node and center of metadata.csv",
        (
            RemoteFile(
                "camelyon17_v1.0.tar.gz",
                "https://worksheets.codalab.org/rest/bundles/0xe45e15f39fb54e9d9e919556af67aabe/contents/blob/",
                "",
                10_658_709_504,
            ),
        ),
        split="by hospital",
        defects=("its 'id_val' part shares hospitals and slides with train: choose on 'val', another hospital",),
    ),
    PublicCohort(
        "gleason",
        "Gleason (Zurich): 886 spots of tissue microarrays of the prostate with Gleason patterns",
        "https://doi.org/10.7910/DVN/OCYCMP",
        "doi:10.1038/s41598-018-30535-1",
        "see its page",
        "a patient has few spots, all in one array; the arrays are of different patients (ZT80 tests, ZT76 is for "
        "choosing). Which spots share a patient is not published",
        tuple(
            RemoteFile(f"{name}.tar.gz", f"{_DATAVERSE}{number}", f"sha256:{sha256}") for name, number, sha256 in _ZT
        ),
        split="by array: ZT80 tests",
        defects=("its test part is graded by two pathologists who disagree",),
    ),
    PublicCohort(
        "tcga",
        "TCGA: slides of 33 cancers, by a manifest of the GDC portal",
        "https://portal.gdc.cancer.gov",
        "doi:10.1038/ng.2764",
        "open access; see the NIH's data use policy",
        "the first twelve letters of the file name: TCGA-AA-0001; the tissue source site is the two after TCGA-",
        (),
        defects=("sites stain and scan in their own ways, and differ in outcome: keep sites whole (--preserve-sites)",),
        read_as="--layout tcga",
    ),
)


def public_cohort(name: str) -> PublicCohort:
    """The row of that name.

    Raises:
        InputError: If there is none.

    Example:
        >>> public_cohort("pcam").licence, public_cohort("mhist").by_hand
        ('CC0', True)
    """
    by_name = {row.name: row for row in COHORTS}
    if name not in by_name:
        raise InputError(f"there is no public cohort '{name}' in the list{suggest(name, by_name)}")
    return by_name[name]
