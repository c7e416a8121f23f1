from .teacher_divergence import TeacherDivergenceLoss

__all__ = ['TeacherDivergenceLoss']
