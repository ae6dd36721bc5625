"""What several families of measures compute with."""
