"""The poms of the local repository: flat, without a parent, every version written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Dependency:
    """What an artifact needs. scope: compile for what our public types mention, else runtime."""

    group: str
    name: str
    version: str
    scope: str = "runtime"
    packaging: str = "jar"


def pom_text(
    group: str,
    name: str,
    version: str,
    description: str,
    licence: str,
    dependencies: Sequence[Dependency],
) -> str:
    """A pom of an AAR.

    Args:
        licence: an SPDX identifier.
    """
    needed = "".join(_dependency(dependency) for dependency in dependencies)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>{escape(group)}</groupId>
  <artifactId>{escape(name)}</artifactId>
  <version>{escape(version)}</version>
  <packaging>aar</packaging>
  <description>{escape(description)}</description>
  <licenses>
    <license>
      <name>{escape(licence)}</name>
    </license>
  </licenses>
  <dependencies>
{needed}  </dependencies>
</project>
"""


def _dependency(dependency: Dependency) -> str:
    kind = "" if dependency.packaging == "jar" else f"      <type>{dependency.packaging}</type>\n"
    return (
        "    <dependency>\n"
        f"      <groupId>{escape(dependency.group)}</groupId>\n"
        f"      <artifactId>{escape(dependency.name)}</artifactId>\n"
        f"      <version>{escape(dependency.version)}</version>\n"
        f"{kind}"
        f"      <scope>{dependency.scope}</scope>\n"
        "    </dependency>\n"
    )
