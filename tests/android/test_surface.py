"""The SDK's public surface is pinned: what a host app was compiled against stays."""

from __future__ import annotations

from fedvoice.android_harness.aar.surface import PINNED, changes, reachable, surface
from tests.android.test_aar import needs_aar

CLASS = "public final class org/fedvoice/{} {{\n\tpublic final fun get ()L{};\n}}"


def test_the_surface_is_what_the_sdk_and_its_signatures_lead_to() -> None:
    text = "\n\n".join(
        [
            CLASS.format("core/A", "org/fedvoice/core/B"),
            CLASS.format("core/B", "java/lang/String"),
            CLASS.format("core/B$Companion", "java/lang/String"),
            CLASS.format("core/Hidden", "org/fedvoice/core/A"),
            CLASS.format("sdk/Voice", "org/fedvoice/core/A"),
        ]
    )
    heads = [block.split()[3] for block in reachable(text).split("\n\n")]
    assert heads == [
        "org/fedvoice/core/A",
        "org/fedvoice/core/B",
        "org/fedvoice/core/B$Companion",
        "org/fedvoice/sdk/Voice",
    ]


def test_a_method_that_goes_is_named() -> None:
    before = CLASS.format("sdk/Voice", "java/lang/String")
    found = changes(before, before.replace("get", "read"))
    assert "-\tpublic final fun get ()Ljava/lang/String;" in found
    assert "+\tpublic final fun read ()Ljava/lang/String;" in found
    assert changes(before, before) == []


@needs_aar
def test_the_surface_is_the_pinned_one() -> None:
    found = changes(PINNED.read_text(), surface())
    assert found == [], "if meant: python -m fedvoice.android_harness.aar.surface --write"
