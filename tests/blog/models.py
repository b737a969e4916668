"""Authors have Django's own users to sign in with, and everything has whole numbers as keys."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower


class Author(models.Model):
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    pen_name = models.CharField(max_length=100)
    about = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.pen_name


class Post(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    editor = models.ForeignKey(
        Author, on_delete=models.SET_NULL, null=True, related_name="edited_posts"
    )
    title = models.CharField(max_length=200)
    text = models.TextField()
    published_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title


class Comment(models.Model):
    """By an author, or by a visitor who left an address. An answer goes with what it answers."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, null=True)
    answers = models.ForeignKey("self", on_delete=models.CASCADE, null=True)
    email = models.EmailField(blank=True)
    text = models.TextField()

    class Meta:
        indexes = [models.Index(Lower("email"), name="comment_by_lower_email")]

    def __str__(self) -> str:
        return self.text[:40]


class Upload(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, null=True)
    file = models.FileField(upload_to="uploads")

    def __str__(self) -> str:
        return str(self.file.name)
