"""The web page: picture in, any view, video and mesh out. It holds no maths and does its work in other processes."""
