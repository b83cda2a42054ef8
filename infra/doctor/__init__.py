"""The doctor: reads everything that a platform has stored and names every disagreement in it."""

from infra.doctor.report import examine as examine
